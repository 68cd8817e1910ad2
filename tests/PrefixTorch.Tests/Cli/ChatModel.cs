namespace PrefixTorch.Tests.Cli;

/// <summary>The model that ships, with a chat template of Llama 3's form beside it: it understands nothing, and appends as others do.</summary>
public sealed class ChatModel : IDisposable
{
    private const string Template = "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n{{ message['content'] }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}";

    private readonly TemporaryFolder _folder = new();

    public ChatModel()
    {
        foreach (string file in Directory.GetFiles(Repository.TinyTolstoy))
        {
            File.Copy(file, System.IO.Path.Combine(Path, System.IO.Path.GetFileName(file)));
        }

        _folder.Write("chat_template.jinja", Template);
    }

    public string Path => _folder.Path;

    /// <summary>Another folder with the model, whose template shouts what is said.</summary>
    public TemporaryFolder Shouting()
    {
        var folder = new TemporaryFolder();
        foreach (string file in Directory.GetFiles(Path))
        {
            File.Copy(file, System.IO.Path.Combine(folder.Path, System.IO.Path.GetFileName(file)));
        }

        folder.Write("chat_template.jinja", Template.Replace("message['content']", "message['content'] | upper", StringComparison.Ordinal));
        return folder;
    }

    public void Dispose() => _folder.Dispose();
}
