using System.CommandLine;
using PrefixTorch.Caching;
using PrefixTorch.Cli.Options;
using PrefixTorch.Cli.Outputs;
using Spectre.Console;

namespace PrefixTorch.Cli.Verbs;

/// <summary>What is in state files; of a folder, who continues whom.</summary>
internal sealed class StateInfoVerb : Verb
{
    private readonly Argument<string[]> _paths = TypedOption.Path<string[]>("path", "FILE|DIR", "State files, or folders of them.", ArgumentArity.OneOrMore);

    public StateInfoVerb(Streams streams)
        : base(streams, "info", "What is in a state file; of a folder, a tree of who continues whom.", "question.safetensors", "states/", "states/ --json")
    {
        Add(_paths);
    }

    protected override Task<int> RunAsync(VerbCall call, CancellationToken cancellation)
    {
        List<StateDocument> documents = [];
        foreach (string path in call.Get(_paths)!)
        {
            if (Directory.Exists(path))
            {
                var tree = KvStateTree.Read(path);
                documents.AddRange(tree.Roots.SelectMany(All).Select(StateDocument.Of));
                Show(call.Output, path, tree);
            }
            else
            {
                var state = KvStateInfo.Read(path);
                documents.Add(StateDocument.Of(state));
                if (!call.Output.Json)
                {
                    StateView.Show(call.Output, state);
                }
            }
        }

        if (call.Output.Json)
        {
            call.Output.Document(new { States = documents });
        }

        return Task.FromResult(ExitCode.Done);
    }

    private static IEnumerable<KvStateInfo> All(KvStateTree.Node node) => node.Children.SelectMany(All).Prepend(node.State);

    private static void Show(Output output, string folder, KvStateTree tree)
    {
        foreach ((string path, string reason) in tree.Others)
        {
            output.Note($"{Path.GetFileName(path)} is no state: {reason}");
        }

        if (tree.Roots.Count == 0)
        {
            output.Note($"There is no state in {folder}: none of its *.safetensors is one, and folders in it are not looked into.");
        }

        if (!output.Json)
        {
            var drawn = new Tree(new Text(folder)).Guide(TreeGuide.Line);
            foreach (KvStateTree.Node root in tree.Roots)
            {
                Hang(drawn, root);
            }

            output.Results.Write(drawn);
        }
    }

    private static void Hang(IHasTreeNodes under, KvStateTree.Node node)
    {
        TreeNode drawn = under.AddNode(new Text(Label(node)));
        foreach (KvStateTree.Node child in node.Children)
        {
            Hang(drawn, child);
        }
    }

    private static string Label(KvStateTree.Node node)
    {
        KvStateInfo state = node.State;
        string name = state.Name is null ? "" : $" '{state.Name}'";
        string tokens = state.Parent is null ? $"{state.Length} tokens" : $"{state.ParentLength} + {state.OwnLength} tokens";
        return $"{Path.GetFileName(state.Path)}{name}  {tokens}, {state.FileBytes:N0} bytes, {state.Model}{(node.IsOrphan ? $"; its parent {state.Parent} is not here" : "")}";
    }
}
