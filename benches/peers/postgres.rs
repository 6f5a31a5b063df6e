//! PostgreSQL, over its own protocol.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use holdpoint::cli::bench::sample::Sample;
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls, Statement};

use super::{ENTRY_BYTES, Outcome, RECORD_BYTES, filler};

/// How long after its end a round may still wait for answers.
const PATIENCE: Duration = Duration::from_secs(60);

const TABLES: &str = "
    CREATE TABLE jobs (id bigint PRIMARY KEY, revision bigint NOT NULL, record bytea NOT NULL);
    CREATE TABLE log (sequence bigserial PRIMARY KEY, job bigint NOT NULL, revision bigint NOT NULL, entry bytea NOT NULL);";
const RECORDS: &str = "
    INSERT INTO jobs SELECT id, 0, $2::bytea FROM generate_series(0, $1::bigint - 1) AS id";
/// Writes nothing where the record is at another revision.
const UPDATE: &str = "
    WITH changed AS (
        UPDATE jobs SET revision = revision + 1, record = $3 WHERE id = $1 AND revision = $2 RETURNING id, revision
    )
    INSERT INTO log (job, revision, entry) SELECT id, revision, $4 FROM changed";

/// Records in PostgreSQL, and the revision of each.
pub struct Postgres {
    parameters: String,
    revisions: Arc<Vec<AtomicI64>>,
}

impl Postgres {
    /// Makes the tables, and so many records.
    pub async fn prepare(parameters: &str, records: u64) -> Outcome<Self> {
        let client = connect(parameters).await?;
        client.batch_execute(TABLES).await?;
        client.execute(RECORDS, &[&i64::try_from(records)?, &filler(RECORD_BYTES)]).await?;
        client.batch_execute("VACUUM ANALYZE jobs").await?;
        let revisions = Arc::new((0..records).map(|_| AtomicI64::new(0)).collect());
        Ok(Self { parameters: parameters.to_owned(), revisions })
    }

    /// So many connections.
    pub async fn pool(&self, connections: usize) -> Outcome<Pool> {
        let connected = (0..connections).map(|_| async {
            let client = connect(&self.parameters).await?;
            let update = client.prepare(UPDATE).await?;
            Outcome::Ok(Arc::new((client, update)))
        });
        let clients = try_join_all(connected).await?;
        Ok(Pool { clients, revisions: Arc::clone(&self.revisions) })
    }
}

async fn connect(parameters: &str) -> Outcome<Client> {
    let (client, connection) = tokio_postgres::connect(parameters, NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("PostgreSQL broke a connection: {error}");
        }
    });
    Ok(client)
}

/// Connections that callers share. Those of one do not wait for each other's answers before they send.
pub struct Pool {
    clients: Vec<Arc<(Client, Statement)>>,
    revisions: Arc<Vec<AtomicI64>>,
}

impl Pool {
    /// How many.
    pub fn connections(&self) -> usize {
        self.clients.len()
    }

    /// Has callers update records.
    pub async fn round(&self, callers: usize, lasts: Duration) -> Outcome<Sample> {
        let begin = Instant::now();
        let writers = (0..callers).map(|number| {
            let client = Arc::clone(&self.clients[number % self.clients.len()]);
            let revisions = Arc::clone(&self.revisions);
            async move { tokio::spawn(write(client, revisions, number, callers, begin, lasts)).await? }
        });
        let mut all = Sample::default();
        for sample in timeout(lasts + PATIENCE, try_join_all(writers)).await?? {
            all.join(&sample);
        }
        all.seconds = begin.elapsed().as_secs_f64();
        Ok(all)
    }
}

/// Updates every so many'th record, in turn.
async fn write(
    client: Arc<(Client, Statement)>,
    revisions: Arc<Vec<AtomicI64>>,
    first: usize,
    step: usize,
    begin: Instant,
    lasts: Duration,
) -> Outcome<Sample> {
    let (client, update) = &*client;
    let (record, entry) = (filler(RECORD_BYTES), filler(ENTRY_BYTES));
    let mut sample = Sample::default();
    for at in (first..revisions.len()).step_by(step).cycle() {
        let sent = Instant::now();
        if sent - begin >= lasts {
            break;
        }
        let revision = revisions[at].fetch_add(1, Ordering::Relaxed);
        let written = client.execute(update, &[&i64::try_from(at)?, &revision, &record, &entry]).await?;
        sample.record(u64::try_from(sent.elapsed().as_micros())?);
        if written != 1 {
            return Err("PostgreSQL has the record at another revision".into());
        }
    }
    Ok(sample)
}
