use super::testing::{interrupted, search};
use super::*;

#[test]
fn a_capacity_names_what_broke_first() {
    let capacity = search("calls 4..64", 25, u64::MAX);
    assert_eq!((capacity.headline().as_str(), capacity.verdict, capacity.exit_code), ("24 calls", Verdict::Pass, 0));
    assert_eq!((capacity.holds, capacity.fails), (Some(24.0), Some(25.0)));
    let [limit] = capacity.limits.as_slice() else { panic!("{:?}", capacity.limits) };
    assert_eq!((limit.what.as_str(), limit.runs), ("connection_time_ms p95 < 200ms", 2));
    assert!(limit.said.contains("observed 665.000 ms"), "{}", limit.said);
    assert_eq!(
        capacity.explanation(),
        [
            "24 calls held: 3 of 3 runs held.",
            "25 calls did not hold: 0 of 2 runs held, 2 broke.",
            "So the capacity is at least 24 calls and below 25 calls, a gap of 4.0 %.",
        ]
    );
}

#[test]
fn a_generator_at_its_limit_is_named_and_the_service_is_not_blamed() {
    let capacity = search("calls 4..64", 1000, 30);
    assert_eq!((capacity.headline().as_str(), capacity.exit_code), ("at least 30 calls", 0));
    assert_eq!(capacity.limits[0].what, "machine_cpu_ratio");
    assert!(capacity.explanation().iter().any(|said| said.contains("the generator, not the service, was the limit")));
    let capacity = search("calls 4..64", 1000, 2);
    assert_eq!((capacity.verdict, capacity.exit_code), (Verdict::Invalid, 3));
    assert!(capacity.explanation()[0].contains("nothing is known of the service"));
}

#[test]
fn the_ends_of_the_range_have_answers_of_their_own() {
    let capacity = search("calls 4..64", 1000, u64::MAX);
    assert_eq!((capacity.headline().as_str(), capacity.exit_code), ("at least 64 calls", 0));
    let capacity = search("calls 4..64", 1, u64::MAX);
    assert_eq!((capacity.headline().as_str(), capacity.exit_code), ("no passing point", 1));
    assert_eq!(capacity.limits[0].runs, 2);
}

#[test]
fn an_interrupted_search_keeps_what_it_knows() {
    let capacity = interrupted("calls 4..64", 25, 6);
    assert_eq!((capacity.verdict, capacity.exit_code), (Verdict::Interrupted, 130));
    assert_eq!((capacity.holds, capacity.fails, capacity.settled), (Some(24.0), Some(32.0), false));
    assert!(capacity.explanation()[0].starts_with("SIGINT ended the search"));
    let capacity = interrupted("calls 4..64", 25, 2);
    assert_eq!(capacity.headline(), "at least 8 calls, by one run or two");
}

#[test]
fn what_is_written_reads_back() {
    let capacity = search("arrivals 0.5/s..3/s", 2_000, u64::MAX);
    assert_eq!((capacity.low, capacity.quantity), (0.5, Quantity::Arrivals));
    let text = serde_json::to_string(&capacity).unwrap();
    assert_eq!(serde_json::from_str::<Capacity>(&text).unwrap(), capacity);
}

#[test]
fn the_reading_nearest_to_its_limit_is_found() {
    let capacity = search("calls 4..64", 25, 100);
    let nearest = capacity.nearest_limit(24.0).unwrap();
    assert_eq!(nearest.name, "machine_cpu_ratio");
    assert!((nearest.share().unwrap() - 0.24).abs() < 1e-9);
}
