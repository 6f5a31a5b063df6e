//! `holdpoint bench`: that it measures and says what, not how fast anything is.

use serde_json::Value;

use super::harness::run;

#[tokio::test]
async fn it_measures_and_tells_as_json() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    let small = [
        "--rounds",
        "1",
        "--seconds",
        "0.2",
        "--jobs",
        "20",
        "--callers",
        "2",
        "--json",
        "--set",
        "limits.tail_bytes=1048576",
        "--data-dir",
        place,
    ];
    let workloads = ["bench", "update", "action", "sync", "hot", "get", "list", "growth", "start"];
    let ended = run(&[&workloads[..], &small[..]].concat()).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);

    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(report["setup"].as_str().unwrap().ends_with("; limits.tail_bytes=1048576"), "{report}");
    let sections = report["sections"].as_array().unwrap();
    let measured: Vec<_> =
        sections.iter().map(|section| section["workload"].as_str().unwrap().to_owned()).collect();
    let expected = ["update", "action", "sync", "sync", "hot", "get", "list", "growth", "start"];
    assert_eq!(measured, expected);
    for row in sections.iter().flat_map(|section| section["rows"].as_array().unwrap()) {
        assert_eq!(row["callers"], 2, "{row}");
        for member in ["calls", "calls_per_second", "p50_millis", "p99_millis", "p999_millis"] {
            assert!(row[member].as_f64().unwrap() > 0.0, "{member} of {row}");
        }
        // Two calls at once, so many a second: that is how long they take at the mean, and the longest no less.
        let [rate, longest] = ["calls_per_second", "p999_millis"].map(|member| row[member].as_f64().unwrap());
        assert!(rate * longest / 1e3 > 0.5 * 2.0, "{row}");
    }
    for section in sections {
        let checks = section["checks"].as_array().unwrap();
        assert!(!checks.is_empty(), "{section}");
        for check in checks {
            // A round may be too short for the processor time to be told.
            if let Some(value) = check["value"].as_object() {
                let [min, median, max] = ["min", "median", "max"].map(|name| value[name].as_f64());
                assert!(min <= median && median <= max, "{check}");
            }
            assert_eq!(check["met"].is_boolean(), check["goal"].is_object() && check["value"].is_object());
        }
    }
    // The bare server is asked for as much as the measured one.
    let rows = sections[0]["rows"].as_array().unwrap();
    assert_eq!(
        rows.iter().map(|row| row["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["bare echo", "holdpoint", "bare echo", "holdpoint, validate_only", "bare echo", "bare, durable"]
    );
    for row in [1, 4, 5] {
        assert_eq!(rows[0]["request_bytes"], rows[row]["request_bytes"], "{row}");
    }
    assert!(rows[0]["request_bytes"].as_u64().unwrap() > 500);
    // What was measured is gone.
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_cannot_be_measured_is_refused() {
    let rows: [(&[&str], i32, &str); 6] = [
        (
            &["bench", "update", "--jobs", "10", "--callers", "1,64"],
            1,
            "--jobs 10 is less than the 64 callers",
        ),
        (&["bench", "--data-dir", "/no/such/place"], 1, "cannot make a directory in /no/such/place"),
        (&["bench", "--set", "store.cash_bytes=1"], 1, "store.cash_bytes"),
        (&["bench", "--set", "store.cache_bytes"], 2, "it is not KEY=VALUE"),
        (&["bench", "sing"], 2, "invalid value 'sing'"),
        (&["bench", "--seconds", "0"], 2, "it is not from 0.05 to 86400"),
    ];
    for (arguments, code, expected) in rows {
        let ended = run(arguments).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{ended:?}");
        assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(expected), "{ended:?}");
    }
}
