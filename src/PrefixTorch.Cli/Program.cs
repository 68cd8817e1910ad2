Console.WriteLine("prefixtorch");
