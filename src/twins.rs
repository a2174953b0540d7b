//! The compiler keeps a handler to what its guarantee can keep. Each example that does not compile has a twin that
//! does, in which only the guarantee is another.

macro_rules! example {
    ($name:ident, $fence:literal, $guarantee:literal, $line:literal) => {
        #[doc = concat!(
            "```", $fence, "\n",
            "use batchwright::{Context, Failure, Operation, Table};\n",
            "const TOTALS: Table<str, u64> = Table::new(\"totals\");\n",
            "struct Handler;\n",
            "impl Operation for Handler {\n",
            "    const NAME: &'static str = \"handler\";\n",
            "    type Item = String;\n",
            "    type Output = String;\n",
            "    type Guarantee = batchwright::", $guarantee, ";\n",
            "    fn run(&self, item: String, cx: &mut Context<batchwright::", $guarantee, ">)\n",
            "        -> Result<String, Failure> {\n",
            "        ", $line, "\n",
            "        Ok(item)\n",
            "    }\n",
            "}\n",
            "```",
        )]
        struct $name;
    };
}

macro_rules! twins {
    ($line:literal: $($refused:ident $refusing:literal,)* | $($allowed:ident $allowing:literal,)*) => {
        $(example!($refused, "compile_fail", $refusing, $line);)*
        $(example!($allowed, "", $allowing, $line);)*
    };
}

twins!(
    "cx.put(&TOTALS, &item, &1)?;":
    TableInAtLeastOnce "AtLeastOnce", TableInAtMostOnce "AtMostOnce", |
    TableInExactlyOnce "ExactlyOnce",
);

twins!(
    "let key: String = cx.idempotency_key().to_string();":
    KeyInExactlyOnce "ExactlyOnce", |
    KeyInAtLeastOnce "AtLeastOnce", KeyInAtMostOnce "AtMostOnce",
);

twins!(
    "let queue: Option<batchwright::Queue> = cx.queue();":
    QueueInExactlyOnce "ExactlyOnce", |
    QueueInAtLeastOnce "AtLeastOnce", QueueInAtMostOnce "AtMostOnce",
);
