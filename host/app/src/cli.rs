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
    /// Have another module take over a running operator.
    ///
    /// Its first records are a trial: what it writes is held back until it has passed, so a bad one is never seen. Exits with 0 when it took over, with 78 if it does
    /// not fit, with 1 if it failed its trial; what ran goes on then.
    Swap(Box<Swap>),
    /// Have the version that `swap --shadow` began take over.
    Promote(Box<Promote>),
    /// End the version that `swap --shadow` began, and show what it did.
    Discard(Rollback),
    /// Go back to the version of an operator that ran before.
    Rollback(Rollback),
    /// Have a running pipeline read nothing more; what was read is processed and committed.
    Pause(Reading),
    /// Have a paused pipeline read again.
    Resume(Reading),
    /// Have a running pipeline commit what it has read, and end.
    Stop(Reading),
    /// Prove that a stopped pipeline's commits are unbroken, and that outputs, changelog and state agree with them.
    ///
    /// Reads; changes nothing and fences nobody. Exits with 0 if nothing was found that cannot be, with 1 if something was.
    Verify(Reading),
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
    /// Where the API listens, like 127.0.0.1:8421; `off`: nowhere. Any free port by default.
    #[arg(long, env = "MILLSTREAM_LISTEN")]
    pub(crate) listen: Option<String>,
    /// Swap an operator when its module changes or, if that lies beside a crate's Cargo.toml, when its source does.
    #[arg(long)]
    pub(crate) watch: bool,
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

#[derive(Debug, Args)]
pub(crate) struct Swap {
    /// The operator's id in the pipeline file.
    pub(crate) operator: String,
    /// The module: a path, its `name@version` in the plugin store, or the sha256 of one that ran before.
    pub(crate) module: String,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Show what it would do, try its migration on some values, and change nothing.
    #[arg(long, conflicts_with = "shadow")]
    pub(crate) check: bool,
    /// Run it beside what runs: what both make of the same records is compared, nothing of it stays. `status` shows what came of it; `promote` or `discard` end it.
    #[arg(long)]
    pub(crate) shadow: bool,
    /// Interfaces that it may import although the version before does not, like wasi:filesystem; several are separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub(crate) allow: Vec<String>,
    #[command(flatten)]
    pub(crate) rules: SwapRules,
}

/// What is demanded of a version before it goes on.
#[derive(Debug, Args)]
pub(crate) struct SwapRules {
    /// Records after which its trial is judged; 1000.
    #[arg(long)]
    pub(crate) trial_records: Option<u64>,
    /// Time after which its trial is judged, like 5s.
    #[arg(long)]
    pub(crate) trial_time: Option<String>,
    /// The share of records that it may reject in its trial, from 0 to 1.
    #[arg(long)]
    pub(crate) max_reject_ratio: Option<f64>,
    /// How much it emits in its trial, as multiples of what the version before does, like 0.5..2.
    #[arg(long)]
    pub(crate) output_ratio: Option<String>,
    /// Records below which no ratio is judged; 100.
    #[arg(long)]
    pub(crate) min_sample: Option<u64>,
    /// Records of its probation after the trial; 0: none.
    #[arg(long)]
    pub(crate) probation_records: Option<u64>,
    /// Time of its probation, like 10m.
    #[arg(long)]
    pub(crate) probation_time: Option<String>,
    /// Records it may be at fault for in its probation.
    #[arg(long)]
    pub(crate) max_failures: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Promote {
    /// The operator's id in the pipeline file.
    pub(crate) operator: String,
    #[command(flatten)]
    pub(crate) reading: Reading,
    #[command(flatten)]
    pub(crate) rules: SwapRules,
}

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The operator's id in the pipeline file.
    pub(crate) operator: String,
    #[command(flatten)]
    pub(crate) reading: Reading,
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
