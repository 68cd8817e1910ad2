using BenchmarkDotNet.Attributes;
using PrefixTorch.Kernels;
using PrefixTorch.Kernels.Panels;
using PrefixTorch.Kernels.Tiles;
using PrefixTorch.Memory;
using PrefixTorch.Model;
using PrefixTorch.Model.Operations;

namespace PrefixTorch.KernelBenchmark;

/// <summary>Products as a model runs them: a matrix of the feed-forward, shared out over the threads.</summary>
public unsafe class Products : KernelBenchmark
{
    private KernelPool? _pool;
    private Arena? _arena;
    private WeightMatrix? _matrix;
    private Linear? _linear;
    private float* _x;
    private float* _y;

    [Params("float32", "bfloat16", "float16", "int8", "int4")]
    public string Weights { get; set; } = "";

    [Params("16384 x 2048", "2048 x 8192")]
    public string Shape { get; set; } = "";

    [Params(1, 4, 16, 512)]
    public int Rows { get; set; }

    private int Outputs => int.Parse(Shape.Split(" x ")[0]);

    private int Columns => int.Parse(Shape.Split(" x ")[1]);

    private WeightFormat Format => Weights switch
    {
        "int8" => WeightFormat.Int8,
        "int4" => WeightFormat.Int4,
        _ => WeightFormat.Float,
    };

    private DType DType => Enum.Parse<DType>(Weights, ignoreCase: true);

    [GlobalSetup]
    public void Setup()
    {
        _pool = new KernelPool(Environment.ProcessorCount);
        _arena = new Arena();
        _x = (float*)Numbers(DType.Float32, (long)Rows * Columns);
        _y = (float*)Take((long)Rows * Outputs * sizeof(float)).Pointer;
        if (Format == WeightFormat.Float)
        {
            NativeBlock block = Take((long)Outputs * Columns * DType.Size());
            KernelSet.Current.Convert(DType, Numbers(DType, (long)Outputs * Columns), DType, block.Pointer, (long)Outputs * Columns);
            _matrix = new WeightMatrix("w", DType, Outputs, Columns, block.Retain(), block.Pointer);
        }
        else
        {
            NativeBlock codes = Take(WeightMatrix.CodeBytes(Format, Outputs, Columns)), scales = Take((long)Outputs * sizeof(float));
            new Random(2).NextBytes(new Span<byte>(codes.Pointer, checked((int)codes.ByteCount)));
            KernelSet.Current.Convert(DType.Float32, Numbers(DType.Float32, Outputs), DType.Float32, scales.Pointer, Outputs);
            _matrix = new WeightMatrix("w", Format, Outputs, Columns, codes.Retain(), codes.Pointer, scales.Retain(), (float*)scales.Pointer);
        }

        _linear = new Linear(null, _matrix);
    }

    public override void Cleanup()
    {
        _linear?.Dispose();
        _arena?.Dispose();
        _pool?.Dispose();
        base.Cleanup();
    }

    [Benchmark]
    public void Product()
    {
        (int Block, long Offset) mark = _arena!.Mark();
        if (UsesAmx)
        {
            ProductByAmx(_arena);
            _arena.Reset(mark);
            return;
        }

        var job = new Job { Kernels = Kernels, Matrix = _matrix!, X = (byte*)_x, Y = _y, Rows = Rows, UsesTiles = UsesTiles };
        if (Format == WeightFormat.Int4)
        {
            job.Groups = new GroupRows(_arena.Take(GroupRows.Bytes(Rows, Columns)), Rows, Columns);
            for (int row = 0; row < Rows; row++)
            {
                Kernels.EncodeActivations(DType.Float32, (byte*)(_x + ((long)row * Columns)), job.Groups, row);
            }
        }
        else if (Format == WeightFormat.Int8)
        {
            job.Coded = new CodedRows(_arena.Take(CodedRows.Bytes(Kernels.Order, Rows, Columns)), Kernels.Order, Rows, Columns);
            for (int row = 0; row < Rows; row++)
            {
                Kernels.EncodeActivations(DType.Float32, (byte*)(_x + ((long)row * Columns)), job.Coded, row);
            }
        }
        else if (UsesTiles)
        {
            job.X = _arena.Take((long)Rows * Columns * sizeof(ushort));
            Kernels.Convert(DType.Float32, (byte*)_x, DType.BFloat16, job.X, (long)Rows * Columns);
        }
        else if (Rows > Kernels.StreamedRows(_matrix!.DType))
        {
            job.Workspaces = Workspaces.Take(_arena, _pool!.Threads, ProductShape.WorkspaceBytes(Rows));
        }

        _pool!.Run((Outputs + Job.OutputsPerBlock - 1) / Job.OutputsPerBlock, ref job);
        _arena.Reset(mark);
    }

    private void ProductByAmx(Arena arena)
    {
        var x = new HostRows((byte*)_x, DType.Float32, Rows, Columns);
        var y = new HostRows((byte*)_y, DType.Float32, Rows, Outputs);
        var products = new AmxProducts(arena, _pool!);
        if (Format == WeightFormat.Int8)
        {
            products.Int8(x, _linear!, y);
            return;
        }

        HostRows rounded = arena.TakeRows(DType.BFloat16, Rows, Columns);
        Kernels.Convert(DType.Float32, x.Data, DType.BFloat16, rounded.Data, (long)Rows * Columns);
        if (Format == WeightFormat.Int4)
        {
            products.Int4(rounded, _linear!, y);
        }
        else
        {
            products.BFloat16(rounded, _linear!, y);
        }
    }

    internal override Work WorkOf(string benchmark) =>
        new(_matrix!.ByteCount, 2.0 * Rows * Outputs * Columns);

    // As a model chooses.
    private bool UsesAmx => Kernels.HasAmx && (DType == DType.BFloat16 || Format == WeightFormat.Int8 || Rows > Step.FewRows);

    private bool UsesTiles => (Format == WeightFormat.Int8 || DType == DType.BFloat16) && Kernels.HasTiles(_matrix!.TileSource);

    private struct Job : IBlockJob
    {
        public const int OutputsPerBlock = 48;

        public KernelSet Kernels;
        public WeightMatrix Matrix;
        public byte* X;
        public float* Y;
        public int Rows;
        public bool UsesTiles;
        public CodedRows Coded;
        public GroupRows Groups;
        public Workspaces Workspaces;

        public readonly void Run(int block)
        {
            int first = block * OutputsPerBlock, end = Math.Min(Matrix.Rows, first + OutputsPerBlock);
            if (Groups.Rows > 0)
            {
                Matrix.Multiply(Kernels, null, first, end, Groups, Y, Matrix.Rows);
            }
            else if (UsesTiles)
            {
                byte* rows = Coded.Rows > 0 ? Coded.Row(0) : X;
                long pitch = Coded.Rows > 0 ? Coded.Pitch : (long)Matrix.Columns * sizeof(ushort);
                TileProduct.Run(Matrix.Tiles, null, first, end, rows, pitch, Rows, Y, Matrix.Rows);
            }
            else if (Coded.Rows > 0)
            {
                Matrix.Multiply(Kernels, null, first, end, Coded, Y, Matrix.Rows);
            }
            else if (Workspaces.Exist)
            {
                byte* workspace = Workspaces.Enter(out int index);
                Matrix.Multiply(Kernels, null, first, end, (float*)X, Matrix.Columns, Rows, Y, Matrix.Rows, workspace);
                Workspaces.Leave(index);
            }
            else
            {
                Matrix.Multiply(Kernels, null, first, end, (float*)X, Matrix.Columns, Rows, Y, Matrix.Rows);
            }
        }
    }
}
