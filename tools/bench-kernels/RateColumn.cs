using System.Globalization;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using PrefixTorch.Kernels;

namespace PrefixTorch.KernelBenchmark;

/// <summary>What one call of a benchmark does.</summary>
/// <param name="Bytes">Bytes that come from memory.</param>
/// <param name="Operations">Multiplications and additions.</param>
internal readonly record struct Work(double Bytes, double Operations);

/// <summary>Bytes or operations a second, or their share of what the machine gave to a loop that does nothing else.</summary>
internal sealed class RateColumn(string name, string legend, Func<Work, double, Isa, string> value) : IColumn
{
    public static IColumn[] Columns { get; } =
    [
        new RateColumn("GB/s", "Bytes from memory, 10^9 a second", (work, seconds, _) => Number(work.Bytes / seconds / 1e9)),
        new RateColumn("GFLOP/s", "Multiplications and additions, 10^9 a second", (work, seconds, _) => Number(work.Operations / seconds / 1e9)),
        new RateColumn("of read", "Share of a plain read of memory by the same threads", (work, seconds, _) => Number(100 * work.Bytes / seconds / Limits.Read) + " %"),
        new RateColumn("of peak", "Share of multiply-adds in registers by the same threads and vectors", (work, seconds, isa) => Number(100 * work.Operations / seconds / Limits.Peak(isa)) + " %"),
    ];

    public string Id => name;

    public string ColumnName => name;

    public string Legend => legend;

    public bool AlwaysShow => true;

    public ColumnCategory Category => ColumnCategory.Custom;

    public int PriorityInCategory => 0;

    public bool IsNumeric => true;

    public UnitType UnitType => UnitType.Dimensionless;

    public bool IsAvailable(Summary summary) => true;

    public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) => GetValue(summary, benchmarkCase);

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase)
    {
        if (summary[benchmarkCase]?.ResultStatistics is not { } statistics)
        {
            return "-";
        }

        // The case's parameters on a fresh object, which knows what one call does.
        var benchmark = (KernelBenchmark)Activator.CreateInstance(benchmarkCase.Descriptor.Type)!;
        foreach (var parameter in benchmarkCase.Parameters.Items)
        {
            benchmarkCase.Descriptor.Type.GetProperty(parameter.Name)!.SetValue(benchmark, parameter.Value);
        }

        return value(benchmark.WorkOf(benchmarkCase.Descriptor.WorkloadMethod.Name), statistics.Median / 1e9, Enum.Parse<Isa>(benchmark.Isa, ignoreCase: true));
    }

    private static string Number(double value) => value.ToString(value < 10 ? "F1" : "F0", CultureInfo.InvariantCulture);
}
