//! What an operator can set, where it is read from, and what is allowed.
//!
//! Flags win over the environment, the environment over the file, the file over the defaults. Nothing here opens, binds
//! or starts anything: a [`Config`] that was loaded is one that was checked whole.

use std::{
    collections::{BTreeMap, HashSet},
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use figment::{
    Figment, Metadata, Profile, Provider,
    error::Kind,
    providers::Serialized,
    util::nest,
    value::{Dict, Map, Value},
};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

const VARIABLE_PREFIX: &str = "HOLDPOINT_";
/// Names the file, and so is not in it.
pub const FILE_VARIABLE: &str = "HOLDPOINT_CONFIG";

/// Everything that can be set. [`Config::default`] holds the documented defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where the store keeps its files.
    pub data_dir: PathBuf,
    /// How long open calls may take to finish once the server was told to stop.
    pub drain_seconds: u64,
    /// Where jobs are kept.
    pub store: StoreConfig,
    /// Whether tools may ask what the server speaks.
    pub reflection: bool,
    /// What is logged, and how.
    pub log: LogConfig,
    /// Who changed what.
    pub audit: AuditConfig,
    /// How callers prove who they are.
    pub auth: AuthConfig,
    /// How connections are kept from others.
    pub tls: TlsConfig,
    /// How dead connections are found.
    pub keepalive: KeepaliveConfig,
    /// What a caller, a job or the server may grow to.
    pub limits: Limits,
}

/// Where jobs are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// Which store.
    pub kind: StoreKind,
    /// What the database may use to cache its pages, and half as much again for records as they were read. Under reads it can take a
    /// few times that.
    pub cache_bytes: u64,
    /// How much is gathered in the journal, and kept in memory, until it is written into the database: at most twice as much is
    /// there, or three times after a crash. More of it writes less, where the same records change again and again, and makes a start after a crash longer.
    pub checkpoint_bytes: u64,
    /// The database's files are written anew when they take more than this, and eight times what is in them, or five times where
    /// nothing was written into it for ten seconds. Meanwhile they take about four times what is in them beside. Large values are in
    /// files beside the database: one gets no more when it has so much, and some are emptied when all of them have this and
    /// twice what is needed, or after such a rest a sixteenth of this; for both, this is 256 MiB at most.
    pub compaction_bytes_min: u64,
    /// The room that there must be on the disk of [`Config::data_dir`]: with less, what would add to the store is refused,
    /// while reads and deletions go on.
    pub free_bytes_min: u64,
}

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// On disk, in [`Config::data_dir`].
    Sled,
    /// In memory, for trying things out: nothing is kept.
    Memory,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// How a line is written.
    pub format: LogFormat,
    /// Directives of `tracing_subscriber::EnvFilter`, such as `info,holdpoint=debug`.
    pub filter: String,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Who changed what, apart from the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    /// A file to which each change that was asked for is added, as a line of JSON. Empty: there is none.
    pub file: PathBuf,
}

/// How callers prove who they are. Without any key the server runs in development mode, and believes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// Files with a key each, by which tokens are signed: a public key as PEM (RSA for RS256, P-256 for ES256, Ed25519 for
    /// EdDSA), or a secret for HS256: one line of printable ASCII, of 32 bytes or more. Read again when they change.
    pub key_files: Vec<PathBuf>,
    /// A file with a JSON Web Key Set. Read again when it changes. Empty: there is none.
    pub jwks_file: PathBuf,
    /// Who must have issued a token. Empty: that does not matter.
    pub issuer: String,
    /// Whom a token must be meant for: one of these.
    pub audiences: Vec<String>,
    /// How far the clocks of issuers and of the server may be apart.
    pub leeway_seconds: u64,
    /// Organizations whose callers may act on the server as a whole, as far as their privileges go: on its status, and on
    /// backups, which hold the data of all organizations.
    pub admin_organizations: Vec<String>,
    /// The privileges that a token's roles stand for.
    pub roles: BTreeMap<String, Vec<String>>,
}

/// How connections are kept from others. Without a certificate they are in plaintext.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The server's certificate and those that vouch for it, as PEM. Read again when it changes, together with the key.
    pub cert_file: PathBuf,
    /// The key of the certificate, as PEM.
    pub key_file: PathBuf,
    /// Certificates, as PEM: a client must have one that one of them vouches for. Empty: it needs none.
    pub client_ca_file: PathBuf,
    /// How long a client may take to begin: for the handshake, and then until it says something.
    pub handshake_seconds: u64,
    /// Take connections in plaintext at an address that is not a loopback one. Something before the server must keep them
    /// from others: their tokens are for everybody to read.
    pub allow_plaintext: bool,
}

/// How dead connections are found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepaliveConfig {
    /// How often a connection is pinged.
    pub interval_seconds: u64,
    /// How long the answer may take before the connection is closed.
    pub timeout_seconds: u64,
}

/// What a caller, a job or the server may grow to. What would pass one of these is refused with the limit's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The longest message taken.
    pub message_bytes: usize,
    /// Calls open at once on one connection; a client keeps further ones waiting by itself.
    pub streams_per_connection: u32,
    /// Watches open at once.
    pub watches: usize,
    /// Watches open at once by one caller.
    pub watches_per_caller: usize,
    /// Connections open at once; further ones are closed as they come.
    pub connections: usize,
    /// Calls that wait for their answer at once.
    pub calls: usize,
    /// Calls by one caller that wait for their answer at once.
    pub calls_per_caller: usize,
    /// Calls that one caller may begin in a second, on average and at once. 0: as many as it likes.
    pub calls_per_second_per_caller: u32,
    /// Outboxes that devices empty at once, each through a `StreamSync`.
    pub sync_streams: usize,
    /// Outboxes emptied at once by one caller.
    pub sync_streams_per_caller: usize,
    /// Commands that wait for the writer; further ones are refused as overload. Outboxes wait where half of them do.
    pub commands_waiting: usize,
    /// How long a command waits for the writer; then it is refused as overload.
    pub waiting_milliseconds: u64,
    /// What requests in hand take together, as they came: those that are being received, wait, or are being answered. Further
    /// ones are refused as overload. Outboxes wait where half of it is taken.
    pub request_bytes: usize,
    /// Step reports of one job.
    pub reports_per_job: usize,
    /// Tasks of one job, those that have ended included.
    pub tasks_per_job: usize,
    /// Attempts at workflow instances, of one job.
    pub attempts_per_job: usize,
    /// Step reports in one sync.
    pub reports_per_sync: usize,
    /// The longest text field, in characters.
    pub text_characters: usize,
    /// The largest `data`, `meta`, `metadata` or the like.
    pub document_bytes: usize,
    /// How deep such a document may be nested.
    pub document_levels: usize,
    /// The longest page of a list.
    pub page_items: usize,
    /// The newest events, kept in memory for all watches together; and as much of older ones for those who have fallen behind.
    pub tail_bytes: usize,
    /// Events kept for watches to resume from: so many, or as old as `log_days`, what comes first.
    pub log_events: u64,
    /// How long events are kept for watches to resume from.
    pub log_days: u64,
    /// How long the reply to a request id is kept.
    pub request_id_hours: u64,
    /// Replies kept at once.
    pub request_ids: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7070)),
            data_dir: "holdpoint-data".into(),
            drain_seconds: 10,
            store: StoreConfig::default(),
            reflection: true,
            audit: AuditConfig::default(),
            auth: AuthConfig::default(),
            tls: TlsConfig::default(),
            log: LogConfig::default(),
            keepalive: KeepaliveConfig::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            kind: StoreKind::Sled,
            cache_bytes: 64 << 20,
            checkpoint_bytes: 64 << 20,
            compaction_bytes_min: 64 << 20,
            free_bytes_min: 256 << 20,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            key_files: Vec::new(),
            jwks_file: PathBuf::new(),
            issuer: String::new(),
            audiences: vec!["holdpoint".to_owned()],
            leeway_seconds: 30,
            admin_organizations: Vec::new(),
            roles: BTreeMap::new(),
        }
    }
}

impl AuthConfig {
    /// Whether callers prove nothing, and are believed.
    #[must_use]
    pub fn is_development(&self) -> bool {
        self.key_files.is_empty() && self.jwks_file.as_os_str().is_empty()
    }
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            client_ca_file: PathBuf::new(),
            handshake_seconds: 10,
            allow_plaintext: false,
        }
    }
}

impl TlsConfig {
    /// Whether connections are encrypted.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.cert_file.as_os_str().is_empty()
    }
}

impl Default for KeepaliveConfig {
    fn default() -> Self {
        Self { interval_seconds: 20, timeout_seconds: 10 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 4 << 20,
            streams_per_connection: 1_024,
            watches: 10_000,
            watches_per_caller: 1_000,
            connections: 10_000,
            calls: 10_000,
            calls_per_caller: 2_000,
            calls_per_second_per_caller: 0,
            sync_streams: 1_000,
            sync_streams_per_caller: 100,
            commands_waiting: 4_096,
            waiting_milliseconds: 5_000,
            request_bytes: 64 << 20,
            reports_per_job: 10_000,
            tasks_per_job: 10_000,
            attempts_per_job: 1_000,
            reports_per_sync: 1_000,
            text_characters: 4_096,
            document_bytes: 256 << 10,
            document_levels: 24,
            page_items: 1_000,
            tail_bytes: 32 << 20,
            log_events: 10_000_000,
            log_days: 30,
            request_id_hours: 24,
            request_ids: 10_000_000,
        }
    }
}

/// Where a [`Config`] is read from, the weakest first.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file. It must be there.
    pub file: Option<PathBuf>,
    /// Environment variables and their values. Those that are not ours are passed over.
    pub environment: Vec<(String, String)>,
    /// Keys such as `limits.watches`, and their values. A later one wins.
    pub flags: Vec<(String, String)>,
}

/// Why there is no configuration: every fault that was found, each naming its key, its value and what is allowed.
#[derive(Debug, thiserror::Error)]
#[error("invalid configuration: {}", .0.join("; "))]
pub struct Error(Vec<String>);

impl Config {
    /// Reads all the sources, and checks the whole.
    ///
    /// # Errors
    /// When the file cannot be read, a key is unknown, or a value is not of its type or not allowed.
    pub fn load(sources: &Sources) -> Result<Self, Error> {
        let defaults = Figment::from(Serialized::defaults(Self::default()));
        let mut figment = defaults.clone();
        if let Some(file) = &sources.file {
            figment = figment.merge(Source::file(file)?);
        }
        let environment = sources.environment.iter().filter_map(|(variable, value)| {
            let source = format!("environment variable {variable}");
            Some(Source::setting(source, &key_of_variable(variable)?, value, &defaults))
        });
        let flags = sources
            .flags
            .iter()
            .map(|(key, value)| Source::setting(format!("flag for {key}"), key, value, &defaults));
        check(environment.chain(flags).fold(figment, Figment::merge), &defaults)
    }

    /// The whole configuration as a TOML file.
    ///
    /// # Panics
    /// Never, for a configuration that was loaded: its numbers fit TOML's, and its path came out of text.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a loaded configuration came out of text, and goes back into it")
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (key, value, allowed) in self.ranges() {
            if !allowed.contains(&value) {
                faults.push(format!("{key}: {value} is not from {} to {}", allowed.start(), allowed.end()));
            }
        }
        if self.limits.request_bytes < self.limits.message_bytes {
            let Limits { request_bytes, message_bytes, .. } = self.limits;
            faults.push(format!(
                "limits.request_bytes: {request_bytes} is less than limits.message_bytes, {message_bytes}: such a message \
                 would never be taken"
            ));
        }
        self.find_unsafe(&mut faults);
        if self.data_dir.as_os_str().is_empty() {
            faults.push("data_dir: empty is not the path of a directory".to_owned());
        }
        if let Err(err) = EnvFilter::try_new(&self.log.filter) {
            faults.push(format!(
                "log.filter: {:?} is not directives such as info,holdpoint=debug: {err}",
                self.log.filter
            ));
        }
        faults
    }

    /// What would let in whom it should not.
    fn find_unsafe(&self, faults: &mut Vec<String>) {
        let listen = self.listen;
        if !listen.ip().is_loopback() && self.auth.is_development() {
            faults.push(format!(
                "listen: {listen} is not a loopback address such as 127.0.0.1:7070 or [::1]:7070, and without \
                 configured keys the server takes no other, since it believes every caller"
            ));
        } else if !listen.ip().is_loopback() && !self.tls.is_on() && !self.tls.allow_plaintext {
            faults.push(format!(
                "listen: {listen} is not a loopback address, and tokens sent there in plaintext are for everybody \
                 to read: set tls.cert_file and tls.key_file, or tls.allow_plaintext where something else keeps \
                 them from others"
            ));
        }
        let is_empty = |path: &PathBuf| path.as_os_str().is_empty();
        let TlsConfig { cert_file, key_file, client_ca_file, .. } = &self.tls;
        if is_empty(cert_file) != is_empty(key_file) {
            faults.push("tls: cert_file and key_file are set together, or neither is".to_owned());
        }
        if is_empty(cert_file) && !is_empty(client_ca_file) {
            faults.push("tls.client_ca_file: without tls.cert_file no client shows a certificate".to_owned());
        }
        let audiences = &self.auth.audiences;
        if audiences.is_empty() || audiences.iter().any(String::is_empty) {
            faults.push("auth.audiences: a token must be meant for somebody".to_owned());
        }
        let AuthConfig { issuer, audiences, roles, admin_organizations, .. } = &self.auth;
        let expects_tokens = !issuer.is_empty()
            || !roles.is_empty()
            || !admin_organizations.is_empty()
            || *audiences != AuthConfig::default().audiences;
        if self.auth.is_development() && expects_tokens {
            faults.push(
                "auth: issuer, audiences, admin_organizations or roles are set, and no key is: without auth.key_files or auth.jwks_file \
                 every caller is believed"
                    .to_owned(),
            );
        }
    }

    fn ranges(&self) -> [(&'static str, u64, RangeInclusive<u64>); 35] {
        const KIB: u64 = 1 << 10;
        const GIB: u64 = 1 << 30;

        let Self { drain_seconds, store, auth, tls, keepalive, limits, .. } = self;
        [
            ("drain_seconds", *drain_seconds, 0..=3_600),
            ("store.cache_bytes", store.cache_bytes, 1_024 * KIB..=1_024 * GIB),
            ("store.checkpoint_bytes", store.checkpoint_bytes, 64 * KIB..=64 * GIB),
            ("store.compaction_bytes_min", store.compaction_bytes_min, 1_024 * KIB..=1 << 60),
            ("store.free_bytes_min", store.free_bytes_min, 0..=1 << 60),
            ("auth.leeway_seconds", auth.leeway_seconds, 0..=600),
            ("tls.handshake_seconds", tls.handshake_seconds, 1..=600),
            ("keepalive.interval_seconds", keepalive.interval_seconds, 1..=3_600),
            ("keepalive.timeout_seconds", keepalive.timeout_seconds, 1..=600),
            ("limits.message_bytes", limits.message_bytes as u64, 4 * KIB..=64 << 20),
            ("limits.streams_per_connection", limits.streams_per_connection.into(), 1..=1_000_000),
            ("limits.watches", limits.watches as u64, 1..=10_000_000),
            ("limits.watches_per_caller", limits.watches_per_caller as u64, 1..=10_000_000),
            ("limits.connections", limits.connections as u64, 1..=10_000_000),
            ("limits.calls", limits.calls as u64, 1..=10_000_000),
            ("limits.calls_per_caller", limits.calls_per_caller as u64, 1..=10_000_000),
            ("limits.calls_per_second_per_caller", limits.calls_per_second_per_caller.into(), 0..=10_000_000),
            ("limits.sync_streams", limits.sync_streams as u64, 1..=10_000_000),
            ("limits.sync_streams_per_caller", limits.sync_streams_per_caller as u64, 1..=10_000_000),
            ("limits.commands_waiting", limits.commands_waiting as u64, 1..=1_000_000),
            ("limits.waiting_milliseconds", limits.waiting_milliseconds, 1..=600_000),
            ("limits.request_bytes", limits.request_bytes as u64, 4 * KIB..=64 * GIB),
            ("limits.reports_per_job", limits.reports_per_job as u64, 1..=1_000_000),
            ("limits.tasks_per_job", limits.tasks_per_job as u64, 1..=1_000_000),
            ("limits.attempts_per_job", limits.attempts_per_job as u64, 1..=1_000_000),
            ("limits.reports_per_sync", limits.reports_per_sync as u64, 1..=100_000),
            ("limits.text_characters", limits.text_characters as u64, 256..=256 * KIB),
            ("limits.document_bytes", limits.document_bytes as u64, KIB..=16 << 20),
            // Each level of a Struct is three of Protobuf's, a report in a watch is six deep, and decoders give up at a
            // hundred: 28 levels are 90 of them.
            ("limits.document_levels", limits.document_levels as u64, 1..=28),
            ("limits.page_items", limits.page_items as u64, 1..=100_000),
            ("limits.tail_bytes", limits.tail_bytes as u64, 1_024 * KIB..=64 * GIB),
            ("limits.log_events", limits.log_events, 1..=1_000_000_000_000),
            ("limits.log_days", limits.log_days, 1..=36_500),
            ("limits.request_id_hours", limits.request_id_hours, 1..=8_760),
            ("limits.request_ids", limits.request_ids, 1..=1_000_000_000),
        ]
    }
}

/// The variables of this process.
#[must_use]
pub fn environment() -> Vec<(String, String)> {
    env::vars_os()
        .map(|(variable, value)| (lossy(&variable), lossy(&value)))
        .filter(|(variable, _)| variable.starts_with(VARIABLE_PREFIX))
        .collect()
}

fn lossy(text: &std::ffi::OsStr) -> String {
    text.to_string_lossy().into_owned()
}

/// `HOLDPOINT_LIMITS__WATCHES` is `limits.watches`.
fn key_of_variable(variable: &str) -> Option<String> {
    let name = variable.strip_prefix(VARIABLE_PREFIX)?;
    // Kubernetes tells every pod of a service named `holdpoint` by variables that begin like ours.
    let ours = variable != FILE_VARIABLE
        && !name.starts_with("SERVICE_")
        && name != "PORT"
        && !name.starts_with("PORT_");
    ours.then(|| name.to_lowercase().replace("__", "."))
}

/// One source of values, with the name that an error calls it by.
struct Source {
    name: String,
    values: Dict,
}

impl Source {
    fn file(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path)
            .map_err(|err| Error(vec![format!("the file {name} cannot be read: {err}")]))?;
        let values = toml::from_str(&text).map_err(|err| {
            let line = err.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            Error(vec![format!("{name}, line {line}: {}", err.message().trim_end().replace('\n', ", "))])
        })?;
        Ok(Self { name, values })
    }

    /// One value given as text. It takes the type that the default of its key has.
    fn setting(name: String, key: &str, text: &str, defaults: &Figment) -> Self {
        let value = match defaults.find_value(key) {
            Ok(Value::String(..)) => Value::from(text),
            Ok(_) | Err(_) => text.parse().unwrap_or_else(|never| match never {}),
        };
        let values = nest(key, value).into_dict().unwrap_or_default();
        Self { name, values }
    }
}

impl Provider for Source {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// Reads values as the types they should have, and checks them. A value of a wrong type is noted and its default taken
/// instead, so that one look finds all that is wrong; an unknown key ends the search.
fn check(mut figment: Figment, defaults: &Figment) -> Result<Config, Error> {
    let mut faults = Vec::new();
    let mut mended = HashSet::new();
    loop {
        let fault = match figment.extract::<Config>() {
            Ok(config) => {
                faults.extend(config.faults());
                return if faults.is_empty() { Ok(config) } else { Err(Error(faults)) };
            }
            Err(fault) => fault,
        };
        faults.push(describe(&fault, &figment));
        let key = fault.path.join(".");
        let Ok(default) = defaults.find_value(&key) else { return Err(Error(faults)) };
        if matches!(fault.kind, Kind::UnknownField(..)) || !mended.insert(key.clone()) {
            return Err(Error(faults));
        }
        let values = nest(&key, default).into_dict().unwrap_or_default();
        figment = figment.merge(Source { name: "default".to_owned(), values });
    }
}

fn describe(fault: &figment::Error, figment: &Figment) -> String {
    let mut path = fault.path.clone();
    let what = match &fault.kind {
        Kind::UnknownField(field, expected) => {
            if path.last() != Some(field) {
                path.push(field.clone());
            }
            format!("no such key among {}", expected.join(", "))
        }
        Kind::UnknownVariant(value, expected) => {
            format!("{value} is none of {}", expected.join(", "))
        }
        Kind::InvalidType(value, expected) | Kind::InvalidValue(value, expected) => {
            let expected = match expected.as_str() {
                "usize" | "u64" | "u32" => "a whole number",
                "socket address" => "an address such as 127.0.0.1:7070",
                "a sequence" => "a list such as [\"one\", \"two\"]",
                "a map" => "a table of keys",
                table if table.starts_with("struct ") => "a table of keys",
                other => other,
            };
            format!("{value} is not {expected}")
        }
        kind => match figment.find_value(&path.join(".")).ok().and_then(Value::into_string) {
            Some(value) => format!("{value:?}: {kind}"),
            None => kind.to_string(),
        },
    };
    let source = fault.metadata.as_ref().map_or_else(String::new, |metadata| format!(" ({})", metadata.name));
    format!("{}: {what}{source}", path.join("."))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    type Pairs<'a> = &'a [(&'a str, &'a str)];
    /// A file, variables, and flags.
    type Row<'a> = (&'a str, Pairs<'a>, Pairs<'a>);

    fn load((file, environment, flags): Row) -> Result<Config, String> {
        let pairs = |pairs: Pairs| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("holdpoint.toml");
        fs::write(&path, file).unwrap();
        let sources = Sources { file: Some(path), environment: pairs(environment), flags: pairs(flags) };
        Config::load(&sources)
            .map_err(|err| err.to_string().replace(&dir.path().display().to_string(), "DIR"))
    }

    /// What each row is refused with, one fault a line.
    #[track_caller]
    fn refused(rows: &[Row], expected: Expect) {
        let mut table = String::new();
        for row in rows {
            let err = load(*row).unwrap_err();
            table.push_str(&err.replacen(": ", "\n  ", 1).replace("; ", "\n  "));
            table.push('\n');
        }
        expected.assert_eq(&table);
    }

    #[test]
    fn flags_win_over_the_environment_that_over_the_file_that_over_the_defaults() {
        let file = "[limits]\nwatches = 2";
        let variable = ("HOLDPOINT_LIMITS__WATCHES", "3");
        let rows: [(usize, Row); 6] = [
            (10_000, ("", &[], &[])),
            (2, (file, &[], &[])),
            (3, (file, &[variable], &[])),
            (4, (file, &[variable], &[("limits.watches", "4")])),
            (5, ("", &[variable], &[("limits.watches", "4"), ("limits.watches", "5")])),
            (3, ("", &[variable], &[("limits.page_items", "4")])),
        ];
        for (watches, row) in rows {
            let config = load(row).unwrap();
            assert_eq!(config.limits.watches, watches, "{row:?}");
            assert_eq!(config.limits.watches_per_caller, 1_000, "siblings keep their value");
        }
    }

    #[test]
    fn text_stays_text_whatever_it_looks_like() {
        let environment = [("HOLDPOINT_DATA_DIR", "2026"), ("HOLDPOINT_LOG__FILTER", "info,holdpoint=debug")];
        let flags = [("listen", "[::1]:0"), ("store.kind", "memory"), ("log.format", "json")];
        let config = load(("", &environment, &flags)).unwrap();
        assert_eq!(config.data_dir, Path::new("2026"));
        assert_eq!(config.log.filter, "info,holdpoint=debug");
        assert_eq!(config.listen.to_string(), "[::1]:0");
        assert_eq!(config.store.kind, StoreKind::Memory);
        assert_eq!(config.log.format, LogFormat::Json);
    }

    #[test]
    fn variables_of_others_are_passed_over() {
        let environment = [
            ("HOLDPOINT_CONFIG", "elsewhere.toml"),
            ("HOLDPOINT_SERVICE_HOST", "10.0.0.1"),
            ("HOLDPOINT_PORT", "tcp://10.0.0.1:7070"),
            ("HOLDPOINT_PORT_7070_TCP_ADDR", "10.0.0.1"),
            ("HOLDPOINTS", "many"),
        ];
        assert_eq!(load(("", &environment, &[])).unwrap(), Config::default());
    }

    #[test]
    fn unknown_keys_are_refused_wherever_they_stand() {
        let rows: [Row; 4] = [
            ("listn = \"127.0.0.1:1\"", &[], &[]),
            ("[keepalive]\ninterval = 1", &[], &[]),
            ("", &[("HOLDPOINT_LOG__COLOUR", "red")], &[]),
            ("", &[], &[("store.name", "x")]),
        ];
        refused(
            &rows,
            expect![[r#"
                invalid configuration
                  listn: no such key among listen, data_dir, drain_seconds, store, reflection, log, audit, auth, tls, keepalive, limits (DIR/holdpoint.toml)
                invalid configuration
                  keepalive.interval: no such key among interval_seconds, timeout_seconds (DIR/holdpoint.toml)
                invalid configuration
                  log.colour: no such key among format, filter (environment variable HOLDPOINT_LOG__COLOUR)
                invalid configuration
                  store.name: no such key among kind, cache_bytes, checkpoint_bytes, compaction_bytes_min, free_bytes_min (flag for store.name)
            "#]],
        );
    }

    #[test]
    fn values_of_a_wrong_type_are_refused_with_their_source() {
        let rows: [Row; 7] = [
            ("listen = \"localhost\"", &[], &[]),
            ("listen = 7070", &[], &[]),
            ("", &[("HOLDPOINT_LIMITS__WATCHES", "many")], &[]),
            ("", &[("HOLDPOINT_LIMITS__WATCHES", "-1")], &[]),
            ("", &[("HOLDPOINT_LIMITS", "5")], &[]),
            ("", &[], &[("store.kind", "paper")]),
            ("\nlisten = ", &[], &[]),
        ];
        refused(
            &rows,
            expect![[r#"
                invalid configuration
                  listen: "localhost": invalid socket address syntax (DIR/holdpoint.toml)
                invalid configuration
                  listen: signed int `7070` is not an address such as 127.0.0.1:7070 (DIR/holdpoint.toml)
                invalid configuration
                  limits.watches: string "many" is not a whole number (environment variable HOLDPOINT_LIMITS__WATCHES)
                invalid configuration
                  limits.watches: signed int `-1` is not a whole number (environment variable HOLDPOINT_LIMITS__WATCHES)
                invalid configuration
                  limits: unsigned int `5` is not a table of keys (environment variable HOLDPOINT_LIMITS)
                invalid configuration
                  store.kind: paper is none of sled, memory (flag for store.kind)
                invalid configuration
                  DIR/holdpoint.toml, line 2: string values must be quoted, expected literal string
            "#]],
        );
    }

    #[test]
    fn every_value_that_is_not_allowed_is_named_at_once() {
        let values = "listen = \"0.0.0.0:7070\"\ndata_dir = \"\"\ndrain_seconds = 3601\n\
                      [log]\nfilter = \"=loud=\"\n[limits]\nwatches = 0\nlog_days = 0";
        let types = "drain_seconds = \"soon\"\n[store]\nkind = \"paper\"\n\
                     [limits]\nwatches = -1\nlog_days = 0";
        refused(
            &[(values, &[], &[]), (types, &[], &[])],
            expect![[r#"
            invalid configuration
              drain_seconds: 3601 is not from 0 to 3600
              limits.watches: 0 is not from 1 to 10000000
              limits.log_days: 0 is not from 1 to 36500
              listen: 0.0.0.0:7070 is not a loopback address such as 127.0.0.1:7070 or [::1]:7070, and without configured keys the server takes no other, since it believes every caller
              data_dir: empty is not the path of a directory
              log.filter: "=loud=" is not directives such as info,holdpoint=debug: invalid filter directive
            invalid configuration
              drain_seconds: string "soon" is not a whole number (DIR/holdpoint.toml)
              limits.watches: signed int `-1` is not a whole number (DIR/holdpoint.toml)
              store.kind: paper is none of sled, memory (DIR/holdpoint.toml)
              limits.log_days: 0 is not from 1 to 36500
        "#]],
        );
    }

    /// Nobody gets in where they do not belong because somebody forgot a key.
    #[test]
    fn what_is_not_safe_is_refused() {
        const KEYS: (&str, &str) = ("auth.key_files", "[\"a.pem\"]");
        const SET: (&str, &str) = ("auth.jwks_file", "a.json");
        const ANY: (&str, &str) = ("listen", "0.0.0.0:7070");
        const CERT: (&str, &str) = ("tls.cert_file", "cert.pem");
        const KEY: (&str, &str) = ("tls.key_file", "key.pem");
        const CLIENTS: (&str, &str) = ("tls.client_ca_file", "ca.pem");
        const PLAINTEXT: (&str, &str) = ("tls.allow_plaintext", "true");
        let rows: [Pairs; 25] = [
            &[],
            &[ANY],
            &[ANY, PLAINTEXT],
            &[ANY, CERT, KEY],
            &[ANY, KEYS],
            &[ANY, SET],
            &[ANY, KEYS, PLAINTEXT],
            &[ANY, KEYS, CERT, KEY],
            &[ANY, SET, CERT, KEY, CLIENTS],
            &[ANY, ("auth.key_files", "[]"), ("auth.jwks_file", ""), CERT, KEY],
            &[("listen", "[::]:7070")],
            &[("listen", "[::ffff:127.0.0.1]:7070")],
            &[("listen", "192.0.2.1:7070"), KEYS],
            &[("listen", "127.0.0.2:7070")],
            &[("listen", "[::1]:7070"), KEYS],
            &[CERT],
            &[KEY],
            &[CERT, KEY, CLIENTS],
            &[CLIENTS],
            &[CERT, CLIENTS],
            &[KEYS, ("auth.audiences", "[]")],
            &[KEYS, ("auth.audiences", "[\"\"]")],
            &[KEYS, ("auth.audiences", "[\"holdpoint\", \"\"]")],
            &[KEYS, ("auth.audiences", "[\"one\", \"two\"]")],
            &[KEYS, ("auth.leeway_seconds", "601")],
        ];
        let mut table = String::new();
        for flags in rows {
            let outcome = match load(("", &[], flags)) {
                Ok(_) => "taken".to_owned(),
                Err(error) => error.trim_start_matches("invalid configuration: ").replace("; ", "\n    "),
            };
            let flags: Vec<_> = flags.iter().map(|(key, value)| format!("{key}={value}")).collect();
            table.push_str(&format!("{}\n    {outcome}\n", flags.join(" ")));
        }
        expect![[r#"

                taken
            listen=0.0.0.0:7070
                listen: 0.0.0.0:7070 is not a loopback address such as 127.0.0.1:7070 or [::1]:7070, and without configured keys the server takes no other, since it believes every caller
            listen=0.0.0.0:7070 tls.allow_plaintext=true
                listen: 0.0.0.0:7070 is not a loopback address such as 127.0.0.1:7070 or [::1]:7070, and without configured keys the server takes no other, since it believes every caller
            listen=0.0.0.0:7070 tls.cert_file=cert.pem tls.key_file=key.pem
                listen: 0.0.0.0:7070 is not a loopback address such as 127.0.0.1:7070 or [::1]:7070, and without configured keys the server takes no other, since it believes every caller
            listen=0.0.0.0:7070 auth.key_files=["a.pem"]
                listen: 0.0.0.0:7070 is not a loopback address, and tokens sent there in plaintext are for everybody to read: set tls.cert_file and tls.key_file, or tls.allow_plaintext where something else keeps them from others
            listen=0.0.0.0:7070 auth.jwks_file=a.json
                listen: 0.0.0.0:7070 is not a loopback address, and tokens sent there in plaintext are for everybody to read: set tls.cert_file and tls.key_file, or tls.allow_plaintext where something else keeps them from others
            listen=0.0.0.0:7070 auth.key_files=["a.pem"] tls.allow_plaintext=true
                taken
            listen=0.0.0.0:7070 auth.key_files=["a.pem"] tls.cert_file=cert.pem tls.key_file=key.pem
                taken
            listen=0.0.0.0:7070 auth.jwks_file=a.json tls.cert_file=cert.pem tls.key_file=key.pem tls.client_ca_file=ca.pem
                taken
            listen=0.0.0.0:7070 auth.key_files=[] auth.jwks_file= tls.cert_file=cert.pem tls.key_file=key.pem
                listen: 0.0.0.0:7070 is not a loopback address such as 127.0.0.1:7070 or [::1]:7070, and without configured keys the server takes no other, since it believes every caller
            listen=[::]:7070
                listen: [::]:7070 is not a loopback address such as 127.0.0.1:7070 or [::1]:7070, and without configured keys the server takes no other, since it believes every caller
            listen=[::ffff:127.0.0.1]:7070
                listen: [::ffff:127.0.0.1]:7070 is not a loopback address such as 127.0.0.1:7070 or [::1]:7070, and without configured keys the server takes no other, since it believes every caller
            listen=192.0.2.1:7070 auth.key_files=["a.pem"]
                listen: 192.0.2.1:7070 is not a loopback address, and tokens sent there in plaintext are for everybody to read: set tls.cert_file and tls.key_file, or tls.allow_plaintext where something else keeps them from others
            listen=127.0.0.2:7070
                taken
            listen=[::1]:7070 auth.key_files=["a.pem"]
                taken
            tls.cert_file=cert.pem
                tls: cert_file and key_file are set together, or neither is
            tls.key_file=key.pem
                tls: cert_file and key_file are set together, or neither is
            tls.cert_file=cert.pem tls.key_file=key.pem tls.client_ca_file=ca.pem
                taken
            tls.client_ca_file=ca.pem
                tls.client_ca_file: without tls.cert_file no client shows a certificate
            tls.cert_file=cert.pem tls.client_ca_file=ca.pem
                tls: cert_file and key_file are set together, or neither is
            auth.key_files=["a.pem"] auth.audiences=[]
                auth.audiences: a token must be meant for somebody
            auth.key_files=["a.pem"] auth.audiences=[""]
                auth.audiences: a token must be meant for somebody
            auth.key_files=["a.pem"] auth.audiences=["holdpoint", ""]
                auth.audiences: a token must be meant for somebody
            auth.key_files=["a.pem"] auth.audiences=["one", "two"]
                taken
            auth.key_files=["a.pem"] auth.leeway_seconds=601
                auth.leeway_seconds: 601 is not from 0 to 600
        "#]].assert_eq(&table);
    }

    /// From wherever they come.
    #[test]
    fn lists_and_roles_are_read() {
        let file = "[auth]\nkey_files = [\"a.pem\", \"b.pem\"]\naudiences = [\"one\"]\n\
                    [auth.roles]\nOperator = [\"jobRead\", \"jobExecute\"]\nnobody = []";
        let environment = [
            ("HOLDPOINT_AUTH__KEY_FILES", "[\"a.pem\", \"b.pem\"]"),
            ("HOLDPOINT_AUTH__AUDIENCES", "[\"one\"]"),
            ("HOLDPOINT_AUTH__ROLES", "{Operator=[\"jobRead\",\"jobExecute\"],nobody=[]}"),
        ];
        let flags = [
            ("auth.key_files", "[a.pem, b.pem]"),
            ("auth.audiences", "[one]"),
            ("auth.roles.Operator", "[\"jobRead\", \"jobExecute\"]"),
            ("auth.roles.nobody", "[]"),
        ];
        let rows: [Row; 3] = [(file, &[], &[]), ("", &environment, &[]), ("", &[], &flags)];
        for row in rows {
            let auth = load(row).unwrap().auth;
            assert_eq!(auth.key_files, [Path::new("a.pem"), Path::new("b.pem")], "{row:?}");
            assert_eq!(auth.audiences, ["one"], "{row:?}");
            let roles: Vec<_> =
                auth.roles.iter().map(|(role, names)| (role.as_str(), names.join(" "))).collect();
            let expected = [("Operator", "jobRead jobExecute".to_owned()), ("nobody", String::new())];
            assert_eq!(roles, expected, "{row:?}");
            assert!(!auth.is_development());
        }
        // A list stands over the whole of another, and roles are put together.
        let config = load((file, &[], &flags[..1])).unwrap();
        assert_eq!(config.auth.key_files.len(), 2);
        let config =
            load((file, &[], &[("auth.key_files", "[\"c.pem\"]"), ("auth.roles.pilot", "[]")])).unwrap();
        assert_eq!(config.auth.key_files, [Path::new("c.pem")]);
        assert_eq!(config.auth.roles.len(), 3);

        refused(
            &[
                ("", &[("HOLDPOINT_AUTH__KEY_FILES", "a.pem")], &[]),
                ("", &[], &[("auth.key_files", "a.pem")]),
                ("", &[], &[("auth.roles", "pilot")]),
                ("", &[], &[("auth.roles.pilot", "jobRead")]),
                ("", &[], &[("auth.keys", "[]")]),
                ("", &[], &[("tls.allow_plaintext", "perhaps")]),
            ],
            expect![[r#"
                invalid configuration
                  auth.key_files: string "a.pem" is not a list such as ["one", "two"] (environment variable HOLDPOINT_AUTH__KEY_FILES)
                invalid configuration
                  auth.key_files: string "a.pem" is not a list such as ["one", "two"] (flag for auth.key_files)
                invalid configuration
                  auth.roles: string "pilot" is not a table of keys (flag for auth.roles)
                invalid configuration
                  auth.roles.pilot: string "jobRead" is not a list such as ["one", "two"] (flag for auth.roles.pilot)
                invalid configuration
                  auth.keys: no such key among key_files, jwks_file, issuer, audiences, leeway_seconds, admin_organizations, roles (flag for auth.keys)
                invalid configuration
                  tls.allow_plaintext: string "perhaps" is not a boolean (flag for tls.allow_plaintext)
            "#]],
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_a_fault() {
        let sources = Sources { file: Some("no-such-file.toml".into()), ..Sources::default() };
        let err = Config::load(&sources).unwrap_err().to_string();
        assert!(
            err.starts_with("invalid configuration: the file no-such-file.toml cannot be read: "),
            "{err}"
        );
    }

    #[test]
    fn every_number_has_a_range_and_a_default_within_it() {
        let config = Config::default();
        assert_eq!(config.faults(), Vec::<String>::new());
        let numbers = config
            .to_toml()
            .lines()
            .filter_map(|line| line.split_once(" = "))
            .filter(|(_, value)| value.parse::<u64>().is_ok())
            .count();
        assert_eq!(numbers, config.ranges().len());
    }

    #[test]
    fn what_is_printed_can_be_read_back() {
        let flags: [Pairs; 3] = [
            &[],
            &[
                ("listen", "0.0.0.0:7070"),
                ("audit.file", "audit \"log\".json"),
                ("auth.key_files", "[\"a b.pem\", \"c:\\\\d.pem\"]"),
                ("auth.jwks_file", "keys.json"),
                ("auth.issuer", "https://issuer.example"),
                ("auth.audiences", "[\"one\", \"two\"]"),
                ("auth.leeway_seconds", "0"),
                ("auth.roles.operator", "[\"jobRead\"]"),
                ("auth.roles.of two", "[]"),
                ("tls.cert_file", "cert.pem"),
                ("tls.key_file", "key.pem"),
                ("tls.client_ca_file", "ca.pem"),
                ("tls.handshake_seconds", "3"),
                ("tls.allow_plaintext", "true"),
                ("reflection", "false"),
                ("limits.calls_per_second_per_caller", "7"),
            ],
            &[
                ("listen", "[::1]:1"),
                ("store.kind", "memory"),
                ("log.filter", "a\"b"),
                ("limits.log_days", "7"),
            ],
        ];
        for flags in flags {
            let config = load(("", &[], flags)).unwrap();
            assert_eq!(config == Config::default(), flags.is_empty());
            assert_eq!(load((&config.to_toml(), &[], &[])).unwrap(), config);
        }
        expect![[r#"
            listen = "127.0.0.1:7070"
            data_dir = "holdpoint-data"
            drain_seconds = 10
            reflection = true

            [store]
            kind = "sled"
            cache_bytes = 67108864
            checkpoint_bytes = 67108864
            compaction_bytes_min = 67108864
            free_bytes_min = 268435456

            [log]
            format = "text"
            filter = "info"

            [audit]
            file = ""

            [auth]
            key_files = []
            jwks_file = ""
            issuer = ""
            audiences = ["holdpoint"]
            leeway_seconds = 30
            admin_organizations = []

            [auth.roles]

            [tls]
            cert_file = ""
            key_file = ""
            client_ca_file = ""
            handshake_seconds = 10
            allow_plaintext = false

            [keepalive]
            interval_seconds = 20
            timeout_seconds = 10

            [limits]
            message_bytes = 4194304
            streams_per_connection = 1024
            watches = 10000
            watches_per_caller = 1000
            connections = 10000
            calls = 10000
            calls_per_caller = 2000
            calls_per_second_per_caller = 0
            sync_streams = 1000
            sync_streams_per_caller = 100
            commands_waiting = 4096
            waiting_milliseconds = 5000
            request_bytes = 67108864
            reports_per_job = 10000
            tasks_per_job = 10000
            attempts_per_job = 1000
            reports_per_sync = 1000
            text_characters = 4096
            document_bytes = 262144
            document_levels = 24
            page_items = 1000
            tail_bytes = 33554432
            log_events = 10000000
            log_days = 30
            request_id_hours = 24
            request_ids = 10000000
        "#]]
        .assert_eq(&Config::default().to_toml());
    }
}
