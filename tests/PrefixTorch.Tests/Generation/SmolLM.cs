using System.Diagnostics;

namespace PrefixTorch.Tests.Generation;

/// <summary>The real instruct model: unpacked once, outside the repository.</summary>
internal static class SmolLM
{
    private static readonly Lock s_gate = new();

    /// <summary>Its folder in the published layout; the test that asks skips where the quantized file is not there.</summary>
    public static string Folder()
    {
        string script = Repository.SharedFixture("smollm2-135m", "unpack.py");
        string folder = Path.Combine(Path.GetTempPath(), "prefixtorch-smollm2-135m");
        lock (s_gate)
        {
            if (!File.Exists(Path.Combine(folder, "done")))
            {
                Unpack(script, folder);
                File.WriteAllText(Path.Combine(folder, "done"), "");
            }
        }

        return folder;
    }

    private static void Unpack(string script, string folder)
    {
        Process? python;
        try
        {
            python = Process.Start(new ProcessStartInfo(script, [folder]) { RedirectStandardError = true, RedirectStandardOutput = true });
        }
        catch (System.ComponentModel.Win32Exception)
        {
            Assert.Skip("unpack.py needs python3.");
            return;
        }

        using (python)
        {
            string output = python!.StandardError.ReadToEnd();
            python.WaitForExit();
            if (python.ExitCode != 0)
            {
                Assert.Skip($"unpack.py could not run here: {output.Trim().Split('\n')[^1]}");
            }
        }
    }
}
