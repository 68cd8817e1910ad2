using System.Diagnostics;
using System.Text.Json;

namespace PrefixTorch.Tests.Architecture;

/// <summary>What the project files say, as MSBuild evaluates them.</summary>
public class ProjectTests
{
    [Theory]
    [InlineData("", "TorchSharp-cpu")]
    [InlineData("-p:TorchBackend=cpu", "TorchSharp-cpu")]
    [InlineData("-p:TorchBackend=cuda", "TorchSharp-cuda-")]
    public void TheBackendPropertyChoosesOneTorch(string property, string package)
    {
        string project = Path.Combine(Repository.Root, "src", "PrefixTorch", "PrefixTorch.csproj");
        var start = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true, WorkingDirectory = Repository.Root };
        foreach (string argument in new[] { "msbuild", project, "-nologo", "-getItem:PackageReference", property }.Where(argument => argument.Length > 0))
        {
            start.ArgumentList.Add(argument);
        }

        using Process msbuild = Process.Start(start)!;
        string json = msbuild.StandardOutput.ReadToEnd();
        msbuild.WaitForExit();
        Assert.Equal(0, msbuild.ExitCode);
        using JsonDocument items = JsonDocument.Parse(json);
        string[] torch = [.. items.RootElement.GetProperty("Items").GetProperty("PackageReference").EnumerateArray()
            .Select(item => item.GetProperty("Identity").GetString()!).Where(name => name.StartsWith("TorchSharp", StringComparison.Ordinal))];
        string expected = package.EndsWith('-') ? package + (OperatingSystem.IsWindows() ? "windows" : "linux") : package;
        Assert.Equal([expected], torch);
    }
}
