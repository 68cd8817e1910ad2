// Speed of the kernels on the shapes of Llama 3.2-1B, beside what this machine can do at all:
//   dotnet run -c Release --project tools/bench-kernels -- --filter '*'
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using Perfolizer.Horology;
using PrefixTorch.KernelBenchmark;

// In this process: the kernels are compiled fully before they first run, and the probes that the shares refer to measure the same threads.
Job job = Job.Default.WithToolchain(InProcessEmitToolchain.DontLogOutput).WithWarmupCount(2).WithIterationCount(7).WithIterationTime(TimeInterval.FromMilliseconds(50)).WithEvaluateOverhead(false);
BenchmarkSwitcher.FromAssembly(typeof(Products).Assembly).Run(args, DefaultConfig.Instance.AddJob(job).AddColumn(RateColumn.Columns).HideColumns("Error", "StdDev", "Job", "Toolchain", "IterationCount", "WarmupCount", "IterationTime", "EvaluateOverhead"));
