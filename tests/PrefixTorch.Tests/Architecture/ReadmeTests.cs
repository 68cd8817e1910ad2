using System.Reflection;
using System.Text.RegularExpressions;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace PrefixTorch.Tests.Architecture;

/// <summary>What the README shows works as it stands there.</summary>
public partial class ReadmeTests
{
    private static string Readme => File.ReadAllText(Path.Combine(Repository.Root, "README.md"));

    [Fact]
    public async Task TheSampleCompilesAndRuns()
    {
        string sample = Assert.Single(Fence().Matches(Readme)).Groups[1].Value;
        Assert.InRange(sample.Split('\n').Length, 5, 25);
        string state = Path.GetTempFileName();
        try
        {
            // Its paths, absolute; its output, where the test can read it.
            string source = sample
                .Replace("weights/tiny-tolstoy", Repository.TinyTolstoy.Replace('\\', '/'), StringComparison.Ordinal)
                .Replace("scene.safetensors", state.Replace('\\', '/'), StringComparison.Ordinal)
                .Replace("Console.", "Captured.Out.", StringComparison.Ordinal);
            source = "using System; using System.IO; using System.Linq; using System.Collections.Generic; using System.Threading.Tasks;\n" + source + "\nstatic class Captured { public static StringWriter Out = new(); }";
            Assembly program = Compile(source);
            var main = (Task)program.EntryPoint!.DeclaringType!.GetMethod("<Main>$", BindingFlags.Static | BindingFlags.NonPublic)!.Invoke(null, [Array.Empty<string>()])!;
            await main;
            string output = program.GetType("Captured")!.GetField("Out")!.GetValue(null)!.ToString()!;
            Assert.Equal(3, output.Split("tokens reused, then:").Length - 1);
            Assert.True(output.IndexOf("tokens reused", StringComparison.Ordinal) > 20, output);
        }
        finally
        {
            File.Delete(state);
        }
    }

    [Fact]
    public void EveryFileItNamesIsThere()
    {
        foreach (string file in new[] { "weights/README.md", "tools/reference.py", "tools/bench-transformers.py", "tools/make-checkpoint.cs", "src/PrefixTorch.Cli", "src/PrefixTorch" })
        {
            Assert.Contains(file, Readme, StringComparison.Ordinal);
            Assert.True(Path.Exists(Path.Combine(Repository.Root, file)), file);
        }
    }

    private static Assembly Compile(string source)
    {
        string[] platform = ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator);
        var compilation = CSharpCompilation.Create(
            "ReadmeSample",
            [CSharpSyntaxTree.ParseText(source)],
            platform.Select(path => MetadataReference.CreateFromFile(path)),
            new CSharpCompilationOptions(OutputKind.ConsoleApplication, nullableContextOptions: NullableContextOptions.Enable));
        using var image = new MemoryStream();
        var result = compilation.Emit(image);
        Assert.True(result.Success, string.Join('\n', result.Diagnostics.Where(diagnostic => diagnostic.Severity == DiagnosticSeverity.Error)));
        return Assembly.Load(image.ToArray());
    }

    [GeneratedRegex("```csharp\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex Fence();
}
