use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// A stream processor whose operators are WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "millstream", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
    /// How log lines are written to standard error.
    #[arg(long, global = true, env = "MILLSTREAM_LOG_FORMAT", value_enum)]
    pub(crate) log: Option<LogFormat>,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines: a JSON object per line.
    Json,
}

/// How results are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For machines.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a pipeline until its input ends or it is told to stop.
    Run(Box<Run>),
    /// Check a pipeline file, its modules and its surroundings; change nothing.
    Validate(Validate),
    /// Show what a module is: world, imports, exports, operators.
    Inspect(Inspect),
    /// Make the crate of a new operator, with tests and a pipeline.
    New(New),
    /// Compile an operator's crate, check the module, and put it beside its Cargo.toml.
    Build(Build),
    /// Run the tests of a pipeline file through its modules; needs no Kafka.
    Test(Test),
    /// The store of modules that pipeline files name by `name@version`.
    #[command(subcommand)]
    Plugin(Plugin),
    /// Show how a running pipeline is doing.
    Status(Reading),
    /// Have a running pipeline take a checkpoint that is kept.
    Savepoint(Reading),
    /// Prove that a stopped pipeline's commits are unbroken, and that outputs, changelog and state agree with them.
    ///
    /// Reads; changes nothing and fences nobody. Exits with 0 if nothing was found that cannot be, with 1 if something was.
    Verify(Reading),
    /// Look at the state of a stopped pipeline, or of a checkpoint.
    #[command(subcommand)]
    State(State),
    /// Begin a new history: empty state, positions from `start` again.
    ///
    /// Topics of the old history stay until you delete them; files that are sinks are renamed. Whoever still runs the pipeline is fenced.
    Reset(Reset),
    /// Look at checkpoints.
    #[command(subcommand)]
    Checkpoint(Checkpoint),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the JSON Schema of the pipeline file.
    Schema,
}

/// A pipeline file.
#[derive(Debug, Args)]
pub(crate) struct PipelineArg {
    /// The pipeline file.
    #[arg(default_value = "pipeline.yaml")]
    pub(crate) file: PathBuf,
}

/// What overrides the pipeline file.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Overrides {
    /// Name of the pipeline.
    #[arg(long, env = "MILLSTREAM_ID")]
    pub(crate) id: Option<String>,
    /// Its state directory.
    #[arg(long, env = "MILLSTREAM_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The pipeline file; or give --from, --operator and --to.
    #[arg(conflicts_with_all = ["from", "operators", "to"])]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    /// What to read: kafka://BROKERS/TOPIC, file://PATH, nexmark: or stdin:
    #[arg(long, requires = "to")]
    pub(crate) from: Option<String>,
    /// A module to run the records through; may be given several times.
    #[arg(long = "operator")]
    pub(crate) operators: Vec<String>,
    /// What the last operator is keyed by.
    #[arg(long, value_parser = ["key"], requires = "operators")]
    pub(crate) key_by: Option<String>,
    /// What to write: kafka://BROKERS/TOPIC, file://PATH or stdout:
    #[arg(long, requires = "from")]
    pub(crate) to: Option<String>,
    /// Print the pipeline file that the flags stand for, and run nothing.
    #[arg(long)]
    pub(crate) print: bool,
    /// Start from a checkpoint.
    #[arg(long)]
    pub(crate) from_checkpoint: Option<PathBuf>,
    /// Stay at the committed positions although somebody moved the offsets of the group.
    #[arg(long)]
    pub(crate) ignore_group_offsets: bool,
    /// Serve Prometheus metrics on this address, like 127.0.0.1:9464.
    #[arg(long, env = "MILLSTREAM_METRICS")]
    pub(crate) metrics: Option<std::net::SocketAddr>,
    /// A name under which they may be asked for from other machines; needed for an address that is not loopback.
    #[arg(long, env = "MILLSTREAM_METRICS_HOST", value_delimiter = ',')]
    pub(crate) metrics_host: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArg,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    /// Do not ask the Kafka cluster.
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The module: a path, or its name in the plugin store.
    pub(crate) module: String,
    /// Which operator to open, if it has several.
    #[arg(long)]
    pub(crate) operator: Option<String>,
    /// Its configuration, as JSON.
    #[arg(long)]
    pub(crate) config: Option<String>,
    /// How to write it.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// The directory to make; its last part names the operator.
    pub(crate) path: PathBuf,
    /// Where the SDK's crate is, instead of the registry.
    #[arg(long)]
    pub(crate) sdk: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArg,
    /// Only tests with this in their names.
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// How to write it.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The operator's crate.
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Plugin {
    /// Keep a module, after checking it.
    Add {
        /// The module.
        module: PathBuf,
        /// What to call it; by default as the module says.
        #[arg(long)]
        name: Option<String>,
    },
    /// Show what is kept.
    List {
        /// How to write it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Remove a module.
    Remove {
        /// Its `name@version`.
        name: String,
    },
}

/// A verb about a pipeline that is there.
#[derive(Debug, Args)]
pub(crate) struct Reading {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArg,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    /// How to write it.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

/// State that is looked at.
#[derive(Debug, Args)]
pub(crate) struct StateArgs {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArg,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    /// Of this operator alone.
    #[arg(long)]
    pub(crate) operator: Option<String>,
    /// This state alone.
    #[arg(long)]
    pub(crate) state: Option<String>,
    /// In a checkpoint, as `checkpoint list` names it, which is copied for it; not as it is now.
    #[arg(long)]
    pub(crate) checkpoint: Option<PathBuf>,
    /// How to write it.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum State {
    /// Show what is kept under a key.
    Get {
        #[command(flatten)]
        state: StateArgs,
        /// The key of the records, or the map key in a broadcast state; `base64:…` for bytes.
        #[arg(long)]
        key: String,
        /// One entry of a map alone.
        #[arg(long)]
        map_key: Option<String>,
    },
    /// Show what is kept, as far as a limit.
    Scan {
        #[command(flatten)]
        state: StateArgs,
        /// Under this key alone.
        #[arg(long)]
        key: Option<String>,
        /// Rows at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Write everything that is kept, a JSON object per line.
    Export {
        #[command(flatten)]
        state: StateArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArg,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    /// The pipeline's id, to say that this is meant.
    #[arg(long)]
    pub(crate) yes: Option<String>,
    /// Begin where the offsets of the consumer group are, which is named like the pipeline.
    #[arg(long)]
    pub(crate) to_group_offsets: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Checkpoint {
    /// Show the checkpoints of a pipeline.
    List(Reading),
    /// Show what is in a checkpoint.
    Inspect {
        /// Where it is, as `list` shows it.
        path: PathBuf,
        /// How to write it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Check every byte of a checkpoint.
    Verify {
        /// Where it is, as `list` shows it.
        path: PathBuf,
    },
}
