//! What a worker does with lines, stamps and counters, without a socket.

use super::*;

fn intake() -> Intake {
    Intake::new(&serving::tests::serving(), Arc::default(), Arc::new(Notes::new("in".into())), 0)
}

#[test]
fn lines_that_were_kept_do_not_wait_for_an_idle_time() {
    let (mut intake, wait) = (intake(), Duration::from_micros(50));
    assert_eq!(intake.idle(wait), IDLE);
    intake.take_lines(b"m f=1 1", 7, &[]);
    assert_eq!(intake.idle(wait), wait);
    intake.hand_over();
    assert_eq!(intake.idle(wait), IDLE);
}

#[test]
fn refused_lines_are_noted_with_their_sender_and_good_ones_are_not() {
    let mut intake = intake();
    // libc::AF_INET, port 256.
    let name = [&2_u16.to_ne_bytes()[..], &[1, 0], &[10, 0, 0, 7]].concat();
    intake.take_lines(b"m f=1 1\nm f=2 2", 15, &name);
    let mut teller = crate::bad_senders::Teller::default();
    let notes = [Arc::clone(&intake.bad_senders)];
    assert_eq!(teller.tell(&notes, Instant::now()), []);
    intake.take_lines(b"m f=1 1\nbad\nm f=2\nworse", 23, &name);
    let told = format!("{:?}", teller.tell(&notes, Instant::now()));
    assert!(told.contains("from: \"10.0.0.7:256\", lines: 2,"), "{told}");
    assert!(told.contains("first: \"bad\""), "{told}");
}

/// The lines of datagrams of twelve bytes that came joined, as they leave.
fn stamped(precision: Precision) -> Vec<String> {
    let datagrams = [
        "a f=1\nb f=2\n",
        "c f=3\n\n\n\n\n\n\n",
        "\n\n\n\n\n\n\n\n\n\n\n\n",
        "d f=4 7\n\n\n\n\n",
        "\n\n\n\n\n\n\ne f=5",
        "f f=6",
    ];
    let mut intake = intake();
    intake.precision = precision;
    intake.take_lines(datagrams.concat().as_bytes(), 12, &[]);
    let batch = intake.builder.seal().expect("six lines");
    let text = str::from_utf8(batch.bytes()).expect("ASCII");
    text.split_terminator('\n').map(str::to_owned).collect()
}

#[test]
fn lines_of_a_datagram_share_a_stamp_and_joined_ones_have_their_own() {
    let lines = stamped(Precision::Nanosecond);
    let fields = lines.iter().map(|line| line.rsplit_once(' ').expect("it has a stamp"));
    let (points, stamps): (Vec<_>, Vec<i64>) =
        fields.map(|(point, stamp)| (point, stamp.parse::<i64>().expect("digits"))).unzip();
    assert_eq!(points, ["a f=1", "b f=2", "c f=3", "d f=4", "e f=5", "f f=6"]);
    let first = stamps[0];
    assert_eq!(stamps, [first, first, first + 1, 7, first + 2, first + 3]);
}

#[test]
fn stamps_are_in_whole_units_of_the_precision() {
    let lines = stamped(Precision::Hour);
    let hour = lines[0].rsplit_once(' ').expect("it has a stamp").1;
    assert!((450_000..10_000_000).contains(&hour.parse().expect("digits")), "{hour}");
    assert_eq!(lines[5], format!("f f=6 {hour}"));
}

#[test]
fn an_older_reading_of_the_drop_counter_counts_nothing() {
    let mut intake = intake();
    let mut counted = |total| {
        intake.count_kernel_drops(total);
        intake.metrics.kernel_drops.get()
    };
    assert_eq!(counted(10), 10);
    // A datagram carries the counter of the moment when it was queued.
    assert_eq!(counted(7), 10);
    assert_eq!(counted(12), 12);
    assert_eq!(counted(u32::MAX / 2), u64::from(u32::MAX / 2));
    assert_eq!(counted(u32::MAX - 1), u64::from(u32::MAX) - 1);
    assert_eq!(counted(2), u64::from(u32::MAX) + 3, "it wraps");
}
