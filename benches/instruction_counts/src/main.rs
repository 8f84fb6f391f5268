//! The cases of `benches/count.sh`: what is counted lies between two marks.
//!
//! callgrind counts while [`counted_call`] runs; qemu's plugin counts from one `getppid` to the next. Everything else (reading weights,
//! making people, four hundred frames until every ring is full) is outside. Each case has run before it is counted, so that what
//! happens only once per process is outside, too. One line per case on stdout, in the order of the counts.
#![forbid(unsafe_code)]

mod people;

mod frames;

#[path = "../../support/reader.rs"]
mod reader;

mod windows;

use std::hint::black_box;

/// Something to count.
pub struct Case {
    /// Name in the table.
    pub name: String,
    /// The work; the same each time it is called.
    pub run: Box<dyn FnMut()>,
}

impl Case {
    fn new(name: impl Into<String>, run: impl FnMut() + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// callgrind collects while this runs, and writes a count when it ends; `benches/count.sh` names it.
#[inline(never)]
fn counted_call(run: &mut dyn FnMut()) {
    run();
    // Keeps the call above from becoming a jump, which would have no end here.
    black_box(());
}

/// A system call that nothing else here makes: the plugin counts between two of them.
fn mark() {
    black_box(std::os::unix::process::parent_id());
}

fn main() {
    // What the marks themselves cost under qemu; 0 or nearly so under callgrind.
    let mut cases = vec![Case::new("nothing", || {})];
    cases.extend(windows::cases());
    cases.extend(frames::cases());
    // Not while counting: a write to a pipe and one to a file are different work.
    let mut names = String::new();
    for case in &mut cases {
        // Not through `counted_call`, which callgrind counts.
        (case.run)();
        mark();
        counted_call(&mut *case.run);
        mark();
        names.push_str(&case.name);
        names.push('\n');
    }
    print!("{names}");
}
