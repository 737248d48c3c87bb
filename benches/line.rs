//! Split and validate, in bytes per second, against the crate `influxdb-line-protocol` in the
//! same run. `cargo bench --bench line`

use divan::{Bencher, black_box, counter::BytesCount};
use ringrelay::line::{Item, Lines};
use ringrelay::timestamp::Precision;
use std::fmt::Write as _;

fn main() {
    divan::main();
}

/// What the lines look like, and how many one input has.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Typical,
    Unstamped,
    Strings,
    Escapes,
    Mixed,
}

/// One row of the table: the shape and how many lines one input has.
const CASES: &[(Shape, usize)] = &[
    (Shape::Typical, 1),
    (Shape::Typical, 10),
    (Shape::Typical, 500),
    (Shape::Unstamped, 10),
    (Shape::Strings, 10),
    (Shape::Escapes, 10),
    (Shape::Mixed, 500),
];

/// Numbers that look random and are the same in every run.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn line(shape: Shape, seeded: &mut Seeded) -> String {
    let mut n = |bound| seeded.below(bound);
    let mut line = format!("cpu,host=server{:02},region=eu-west,core={}", n(100), n(64));
    match shape {
        Shape::Typical | Shape::Unstamped => {}
        Shape::Strings => line = format!("log,host=server{:02},level=info", n(100)),
        Shape::Escapes => line = format!("cpu,host=server\\ {:02},region=eu\\,west", n(100)),
        Shape::Mixed => {
            line = format!("metric{},host=server{}", n(1_000), n(10_000));
            for tag in 0..n(6) {
                write!(line, ",tag{tag}=value{}", n(1_000_000)).expect("a String takes all");
            }
        }
    }
    match shape {
        Shape::Strings => write!(
            line,
            " message=\"GET /api/v1/users/{} took, all in all, {} ms\",status={}i",
            n(100_000),
            n(1_000),
            200 + n(300)
        ),
        Shape::Mixed => {
            line.push_str(" first=1");
            for field in 0..n(12) {
                match n(4) {
                    0 => write!(line, ",field{field}={}i", n(1_000_000_000)),
                    1 => write!(line, ",flag{field}={}", if n(2) == 0 { "true" } else { "f" }),
                    _ => write!(line, ",field{field}={}.{}", n(100_000), n(1_000)),
                }
                .expect("a String takes all");
            }
            Ok(())
        }
        _ => write!(
            line,
            " usage_user={}.{},usage_system={}.{:02},usage_idle={}.{:02},ctx={}i",
            n(100),
            n(10),
            n(100),
            n(100),
            n(100),
            n(100),
            n(1_000_000)
        ),
    }
    .expect("a String takes all");
    if !matches!(shape, Shape::Unstamped) {
        let stamp_ns = 1_434_055_562_000_000_000 + n(1_000_000_000);
        write!(line, " {stamp_ns}").expect("a String takes all");
    }
    line
}

/// Several inputs, so that no branch predictor learns one by heart: about 1 MB of them.
fn inputs((shape, lines): (Shape, usize)) -> Vec<String> {
    let mut seeded = Seeded(1);
    let mut input = || {
        let lines: Vec<_> = (0..lines).map(|_| line(shape, &mut seeded)).collect();
        lines.join("\n") + "\n"
    };
    let first = input();
    let count = (1 << 20) / first.len();
    (0..count).map(|_| input()).collect()
}

fn measure(bencher: Bencher<'_, '_>, case: (Shape, usize), count_lines: fn(&str) -> usize) {
    let inputs = inputs(case);
    let bytes: usize = inputs.iter().map(String::len).sum();
    for input in &inputs {
        assert_eq!(count_lines(input), case.1, "{input}");
    }
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| inputs.iter().map(|input| count_lines(black_box(input))).sum::<usize>());
}

#[divan::bench(args = CASES)]
fn ringrelay(bencher: Bencher<'_, '_>, case: &(Shape, usize)) {
    measure(bencher, *case, |input| {
        let lines = Lines::new(input.as_bytes(), Precision::Nanosecond);
        lines.filter(|item| matches!(black_box(item), Item::Line(_))).count()
    });
}

#[divan::bench(args = CASES)]
fn influxdb_line_protocol(bencher: Bencher<'_, '_>, case: &(Shape, usize)) {
    measure(bencher, *case, |input| {
        influxdb_line_protocol::parse_lines(input).filter(|line| black_box(line).is_ok()).count()
    });
}
