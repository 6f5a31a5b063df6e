use super::*;
use crate::store::{Batch, MemoryStore, Sequence};

const FIRST: Partition = Partition(0);

fn job() -> JobKey {
    JobKey { org: "org".to_owned(), job_id: "job".to_owned() }
}

/// A store with so many tasks of a job, half of them open and all of them of one attempt, and one of another job on each side.
async fn store(tasks: usize) -> Arc<dyn Store> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut records = Records::new(Arc::clone(&store), FIRST);
    let task = |number: usize| {
        let completion_status = i32::from(!number.is_multiple_of(2));
        TaskStatus { id: format!("{number:04}"), completion_status, ..TaskStatus::default() }
    };
    for number in 0..tasks {
        let task = task(number);
        let of_attempt = attempt_key(Table::AttemptTask, &job(), "instance", 7).number(number as u64);
        records.write(of_attempt.into_bytes(), Some(Bytes::from(task.id.clone())));
        records.put(Key::of(Table::Task, &job()).text(&task.id), &task);
    }
    for other in ["joa", "joc"] {
        let other = JobKey { job_id: other.to_owned(), ..job() };
        records.put(Key::of(Table::Task, &other).text("other"), &task(0));
    }
    let batch = Batch { first: Sequence(1), entries: Vec::new(), writes: records.take_writes() };
    store.commit(FIRST, batch).await.unwrap();
    store
}

#[tokio::test]
async fn all_of_a_kind_are_read_however_many_pages_they_take() {
    for count in [0, 1, SCAN_KEYS - 1, SCAN_KEYS, SCAN_KEYS + 1, 2 * SCAN_KEYS, 2 * SCAN_KEYS + 1] {
        let mut records = Records::new(store(count).await, FIRST);
        let ids: Vec<String> = (0..count).map(|number| format!("{number:04}")).collect();
        let tasks = records.tasks(&job()).await.unwrap();
        assert!(tasks.into_keys().eq(ids.clone()), "{count}");
        assert_eq!(records.open_tasks(&job()).await.unwrap().len(), count.div_ceil(2));
        let of_attempt = records.attempt_tasks(&job(), "instance", 7).await.unwrap();
        assert!(of_attempt.into_iter().map(|(_, id)| id).eq(ids), "{count}");

        records.remove_parts(&job()).await.unwrap();
        assert!(records.tasks(&job()).await.unwrap().is_empty());
        let writes = records.take_writes();
        assert_eq!(writes.len(), 2 * count);
        assert!(writes.iter().all(|(_, value)| value.is_none()));
    }
}

/// What is about to be written takes the place of what is there, on whichever page that is.
#[tokio::test]
async fn what_is_not_committed_yet_is_read_over_all_pages() {
    let count = SCAN_KEYS + 10;
    let mut records = Records::new(store(count).await, FIRST);
    let changed =
        TaskStatus { id: "0003".to_owned(), description: Some("new".to_owned()), ..TaskStatus::default() };
    records.put(Key::of(Table::Task, &job()).text(&changed.id), &changed);
    records.remove(Key::of(Table::Task, &job()).text("0260"));
    records.put(Key::of(Table::Task, &job()).text("9999"), &TaskStatus::default());
    let tasks = records.tasks(&job()).await.unwrap();
    assert_eq!(tasks.len(), count);
    assert_eq!(tasks["0003"], changed);
    assert!(!tasks.contains_key("0260") && tasks.contains_key("9999"));
}
