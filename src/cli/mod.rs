//! The command line: what can be typed, and what it means. What the binary does beside serving is in the modules here.

pub mod bench;
pub mod local;
pub mod remote;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use self::{bench::BenchArguments, remote::ServerArguments};
use crate::config::{self, Sources};

const EXAMPLES: &str = "\
Examples:
  holdpoint serve
  holdpoint serve --listen 127.0.0.1:0 --store memory
  holdpoint serve --config holdpoint.toml --set limits.watches=100
  HOLDPOINT_LIMITS__WATCHES=100 holdpoint serve --log-format json
  holdpoint serve --print-config > holdpoint.toml";

const TOKEN_EXAMPLES: &str = "\
Examples:
  head -c 32 /dev/urandom | base64 > secret
  holdpoint serve --set 'auth.key_files=[\"secret\"]'
  holdpoint token mint --key secret --org acme --sub ann --privileges all
  grpcurl -plaintext -H \"authorization: Bearer $(holdpoint token mint --key secret)\" ...";

const BACKUP_EXAMPLES: &str = "\
Examples:
  holdpoint backup monday.backup
  holdpoint backup monday.backup --server http://127.0.0.1:7070 --token-file token
  holdpoint check --backup monday.backup
  holdpoint restore monday.backup --data-dir restored
  holdpoint check --data-dir restored
  holdpoint serve --data-dir restored";

const BENCH_EXAMPLES: &str = "\
Examples:
  holdpoint bench
  holdpoint bench update get --seconds 5
  holdpoint bench growth start --jobs 1000000 --data-dir /mnt/fast
  holdpoint bench --json > figures.json";

/// One true record of a job, kept over gRPC, and watched live.
#[derive(Debug, Parser)]
#[command(name = "holdpoint", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until told to stop: the first SIGTERM or SIGINT lets open calls finish, the second does not wait.
    #[command(after_help = EXAMPLES)]
    Serve(ServeArguments),
    /// Tokens, by which callers prove who they are.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Tell how a server is, as JSON.
    Status(ServerArguments),
    /// Copy the store of a server to a file while it serves.
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(BackupArguments),
    /// Make a data directory from a backup. It is a new store: watches begin anew there.
    #[command(after_help = BACKUP_EXAMPLES)]
    Restore(RestoreArguments),
    /// Look whether a data directory that no server has open, or a backup, is whole and in order.
    ///
    /// Of a data directory, every job's history is told again and compared with the records and indexes that are there.
    /// Exits with 0 where all is in order, and with 1 and what is wrong where it is not.
    Check(CheckArguments),
    /// Measure what the server can do on this machine and this disk.
    ///
    /// Starts a server of its own, and beside it a bare one that only answers with as many bytes. Rounds of the two alternate,
    /// and what counts is the ratio of each pair: median, smallest and greatest. Says for each what is aimed at, and whether it
    /// is reached. Every acknowledged change is durable. Takes about ten minutes; ends with 1 where any call fails.
    #[command(after_help = BENCH_EXAMPLES)]
    Bench(BenchArguments),
    /// Serve what `bench` compares with.
    #[command(name = bench::server::BARE, hide = true)]
    BenchBare {
        /// Where it keeps what it is to keep.
        directory: PathBuf,
    },
}

/// The flags of `backup`.
#[derive(Debug, Args)]
pub struct BackupArguments {
    /// The file to write. It must not be there.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArguments,
}

/// The flags of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// The backup.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where to make the data directory: an empty directory, or none.
    #[arg(long, value_name = "DIRECTORY")]
    pub data_dir: PathBuf,
}

/// The flags of `check`.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct CheckArguments {
    /// A data directory.
    #[arg(long, value_name = "DIRECTORY")]
    pub data_dir: Option<PathBuf>,
    /// A backup.
    #[arg(long, value_name = "FILE")]
    pub backup: Option<PathBuf>,
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token from a local key, for trying things out, and print it.
    #[command(after_help = TOKEN_EXAMPLES)]
    Mint(MintArguments),
}

/// The flags of `token mint`.
#[derive(Debug, Args)]
pub struct MintArguments {
    /// The key to sign with: a private one in PEM (PKCS #8; RSA, P-256 or Ed25519), or a secret: one line of printable ASCII, of
    /// 32 bytes or more.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The user.
    #[arg(long, value_name = "USER", default_value = "dev")]
    pub sub: String,
    /// The organization.
    #[arg(long, default_value = "dev")]
    pub org: String,
    /// What people call the user.
    #[arg(long)]
    pub name: Option<String>,
    /// The user's groups, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "GROUP")]
    pub groups: Vec<String>,
    /// What the user may do, separated by commas; `all` for everything.
    #[arg(long, value_delimiter = ',', value_name = "PRIVILEGE")]
    pub privileges: Vec<String>,
    /// The user's roles, which the server's configuration gives a meaning, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "ROLE")]
    pub roles: Vec<String>,
    /// Who issues it.
    #[arg(long, default_value = "")]
    pub issuer: String,
    /// Whom it is meant for.
    #[arg(long, default_value = "holdpoint")]
    pub audience: String,
    /// What the key is called, where the server has it from a key set.
    #[arg(long, value_name = "KID")]
    pub key_id: Option<String>,
    /// For how long it is good, such as `90s`, `15m`, `1h` or `7d`.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = seconds)]
    pub expires_in: u64,
}

/// The flags of `serve`. Each stands over the environment (`HOLDPOINT_LISTEN`, `HOLDPOINT_LOG__FORMAT`), that over the
/// file, that over the defaults.
#[derive(Debug, Args)]
pub struct ServeArguments {
    /// A TOML file to read the configuration from.
    #[arg(long, value_name = "FILE", env = config::FILE_VARIABLE)]
    config: Option<PathBuf>,
    /// Where to listen; port 0 takes any free one [default: 127.0.0.1:7070].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where the store keeps its files [default: holdpoint-data].
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// Where jobs are kept; memory keeps nothing, and is for trying things out [default: sled].
    #[arg(long, value_parser = ["sled", "memory"])]
    store: Option<String>,
    /// How a line of the log is written [default: text].
    #[arg(long, value_parser = ["text", "json"])]
    log_format: Option<String>,
    /// What is logged, such as `info,holdpoint=debug`; `RUST_LOG` stands over it [default: info].
    #[arg(long, value_name = "DIRECTIVES")]
    log_filter: Option<String>,
    /// How long open calls may take to finish once told to stop [default: 10].
    #[arg(long, value_name = "SECONDS")]
    drain_seconds: Option<u64>,
    /// Any key of the configuration, such as `limits.watches=100`; may be given again.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Print the configuration that these flags, the environment and the file make, and do not serve.
    #[arg(long)]
    print_config: bool,
}

impl ServeArguments {
    /// Whether the configuration is to be printed, and nothing served.
    #[must_use]
    pub fn print_config(&self) -> bool {
        self.print_config
    }

    /// Where the configuration is read from.
    #[must_use]
    pub fn sources(&self, environment: Vec<(String, String)>) -> Sources {
        let named = [
            ("listen", self.listen.clone()),
            ("data_dir", self.data_dir.clone()),
            ("store.kind", self.store.clone()),
            ("log.format", self.log_format.clone()),
            ("log.filter", self.log_filter.clone()),
            ("drain_seconds", self.drain_seconds.map(|seconds| seconds.to_string())),
        ];
        let named = named.into_iter().filter_map(|(key, value)| value.map(|value| (key.to_owned(), value)));
        Sources {
            file: self.config.clone(),
            environment,
            flags: self.set.iter().cloned().chain(named).collect(),
        }
    }
}

/// Seconds, minutes, hours or days.
fn seconds(text: &str) -> Result<u64, String> {
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];
    let found = units.iter().find_map(|(unit, seconds)| {
        let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
        Some(u64::from(number) * seconds)
    });
    found
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| "it is not a time such as 90s, 15m, 1h or 7d".to_owned())
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("it is not KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_flag_of_its_own_stands_over_set() {
        let typed = [
            "holdpoint",
            "serve",
            "--listen",
            "[::1]:1",
            "--set",
            "listen=[::1]:2",
            "--set",
            "limits.watches=3",
        ];
        let Command::Serve(arguments) = Arguments::try_parse_from(typed).unwrap().command else {
            panic!("it is `serve`");
        };
        let config = config::Config::load(&arguments.sources(Vec::new())).unwrap();
        assert_eq!(config.listen.port(), 1);
        assert_eq!(config.limits.watches, 3);
    }

    #[test]
    fn a_token_is_good_for_as_long_as_the_flag_says() {
        let rows = [
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("1h", Some(3_600)),
            ("7d", Some(604_800)),
            ("4294967295d", Some(371_085_174_288_000)),
            ("4294967296d", None),
            ("0h", None),
            ("-1h", None),
            ("1.5h", None),
            ("1 h", None),
            ("h", None),
            ("60", None),
            ("1w", None),
            ("1H", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(seconds(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn what_a_token_says_is_typed_as_lists() {
        let typed = [
            "holdpoint",
            "token",
            "mint",
            "--key",
            "k",
            "--groups",
            "a,b c",
            "--groups",
            "d",
            "--privileges",
            "jobRead,taskRead",
            "--roles",
            "operator",
        ];
        let Command::Token(TokenCommand::Mint(minted)) = Arguments::try_parse_from(typed).unwrap().command
        else {
            panic!("it is `token mint`");
        };
        assert_eq!(minted.groups, ["a", "b c", "d"]);
        assert_eq!(minted.privileges, ["jobRead", "taskRead"]);
        assert_eq!(minted.roles, ["operator"]);
        // As the server and development mode have it by default.
        let MintArguments { sub, org, issuer, audience, expires_in, .. } = minted;
        assert_eq!(
            (sub.as_str(), org.as_str(), issuer.as_str(), audience.as_str()),
            ("dev", "dev", "", "holdpoint")
        );
        assert_eq!(expires_in, 3_600);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let rows: [&[&str]; 11] = [
            &["holdpoint", "token"],
            &["holdpoint", "token", "mint", "secret"],
            &["holdpoint", "token", "mint"],
            &["holdpoint", "token", "mint", "--key", "k", "--expires-in", "0s"],
            &["holdpoint", "token", "mint", "--key", "k", "--expires-in", "soon"],
            &["holdpoint"],
            &["holdpoint", "sing"],
            &["holdpoint", "serve", "--store", "paper"],
            &["holdpoint", "serve", "--set", "limits.watches"],
            &["holdpoint", "serve", "--set", "=3"],
            &["holdpoint", "serve", "--drain-seconds", "soon"],
        ];
        for typed in rows {
            assert_eq!(Arguments::try_parse_from(typed).unwrap_err().exit_code(), 2, "{typed:?}");
        }
    }
}
