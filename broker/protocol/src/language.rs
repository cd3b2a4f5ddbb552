//! The language a client says it is written in: a name in JSON headers, a number in binary ones.

macro_rules! languages {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// The language of a client. Brokers keep it for `consumerConnection` and nothing else.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Language { $($(#[$doc])* $variant,)* }

        impl Language {
            /// The number in a binary header. An unknown number is [`Language::Other`]: Java reads
            /// it as null and carries on.
            pub fn from_number(number: u8) -> Self {
                match number { $($number => Self::$variant,)* _ => Self::Other }
            }

            /// The name in a JSON header.
            pub fn from_name(name: &str) -> Self {
                match name { $($name => Self::$variant,)* _ => Self::Other }
            }

            /// The number for a binary header.
            pub fn number(self) -> u8 {
                match self { $(Self::$variant => $number,)* }
            }

            /// The name for a JSON header.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

languages! {
    /// Java.
    Java = 0, "JAVA";
    /// C++.
    Cpp = 1, "CPP";
    /// .NET.
    DotNet = 2, "DOTNET";
    /// Python.
    Python = 3, "PYTHON";
    /// Delphi.
    Delphi = 4, "DELPHI";
    /// Erlang.
    Erlang = 5, "ERLANG";
    /// Ruby.
    Ruby = 6, "RUBY";
    /// Something else.
    Other = 7, "OTHER";
    /// An HTTP gateway.
    Http = 8, "HTTP";
    /// Go.
    Go = 9, "GO";
    /// PHP.
    Php = 10, "PHP";
    /// OpenMessaging.
    Oms = 11, "OMS";
    /// Rust.
    Rust = 12, "RUST";
    /// Node.js.
    NodeJs = 13, "NODE_JS";
}
