//! What is known of a board without asking it: `boards/*.toml`, checked at compile time's tests and parsed at start.

use serde::Deserialize;

/// Facts of one board.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Its name: what `--board` takes.
    pub name: String,
    /// How far it is proven.
    pub tier: Tier,
    /// Where the facts come from and what is not confirmed.
    pub source: String,
    /// How it is recognised.
    pub detect: Detect,
    /// Its processor.
    pub cpu: Cpu,
    /// Its memory.
    pub memory: Memory,
    /// Its thermometer.
    pub thermal: Thermal,
    /// Its power meter.
    pub power: Power,
    /// What its hardware watchdog is.
    pub watchdog: Watchdog,
    /// What it must keep to.
    pub budget: Budget,
}

/// How far a board is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Measured on the hardware.
    Measured,
    /// Compiles, runs emulated, and reads a made-up tree of its files.
    Emulated,
    /// There is no hardware.
    Simulated,
}

/// `[detect]`: what the device tree says. Both empty: never chosen by `auto`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detect {
    /// Entries of `/proc/device-tree/compatible`, any of which names the board.
    pub compatible: Vec<String>,
    /// Parts of `/proc/device-tree/model`, any of which names it where `compatible` does not.
    pub model: Vec<String>,
}

/// `[cpu]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cpu {
    /// Cores; 0: not known.
    pub cores: u32,
    /// Their kind.
    pub kind: String,
    /// Highest clock in MHz; 0: not known.
    pub clock_mhz_max: u32,
}

/// `[memory]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Bytes of the smallest variant; 0: not known.
    pub ram_bytes: u64,
    /// Bytes that the memory map of `alfred-edge` may add up to here: the pose estimator needs the rest.
    pub ceiling_bytes: u64,
}

/// `[thermal]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thermal {
    /// Types of the zones that count; empty: every zone.
    pub zones: Vec<String>,
    /// Where the board slows itself down, in thousandths of a degree Celsius.
    pub throttle_milli_celsius: i32,
    /// Where the first, second and third rung of the degrade ladder begin.
    pub rungs_milli_celsius: [i32; 3],
}

/// `[power]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// Folders of the INA3221's driver.
    pub drivers: Vec<String>,
    /// Labels of the rail that feeds the whole board, the most likely first; empty: no power meter.
    pub input_rails: Vec<String>,
    /// Labels of the other rails, for people.
    pub other_rails: Vec<String>,
}

/// `[watchdog]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watchdog {
    /// The hardware's device, for `RuntimeWatchdogSec=` of systemd; empty: none known. The process itself kicks systemd, not the device.
    pub device: String,
}

/// `[budget]`: promises, not measurements; `benches/budgets.toml` has those.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// From a frame's arrival to its decisions with 16 persons, p99, in microseconds.
    pub frame_to_decision_us_max: u64,
    /// Resident bytes of the process with a native model.
    pub resident_bytes_max: u64,
}

/// Name and text of every board's file.
const FILES: [&str; 6] = [
    include_str!("../boards/jetson-orin-nano.toml"),
    include_str!("../boards/jetson-orin-nx.toml"),
    include_str!("../boards/jetson-xavier-nx.toml"),
    include_str!("../boards/jetson-nano.toml"),
    include_str!("../boards/generic-linux.toml"),
    include_str!("../boards/sim.toml"),
];

impl Facts {
    /// Every board's facts, Jetson boards first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        // A file that does not parse fails the test below; a build with one knows the other boards.
        FILES.iter().filter_map(|text| toml::from_str(text).ok()).collect()
    }

    /// The facts of the board called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|facts| facts.name == name)
    }

    /// What cannot be right in these facts.
    #[must_use]
    pub fn complaint(&self) -> Option<&'static str> {
        let [first, second, third] = self.thermal.rungs_milli_celsius;
        if self.name.is_empty() || !self.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            Some("name: lower-case letters, digits and hyphens are needed")
        } else if !(first < second && second < third && third < self.thermal.throttle_milli_celsius) {
            Some("thermal: the rungs must rise and end below the throttle point")
        } else if self.memory.ram_bytes > 0 && self.memory.ceiling_bytes > self.memory.ram_bytes / 8 {
            Some("memory: the ceiling leaves too little to the pose estimator")
        } else if self.budget.resident_bytes_max > self.memory.ceiling_bytes.saturating_mul(4) || self.budget.frame_to_decision_us_max == 0
        {
            Some("budget: out of proportion")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_parses_and_makes_sense() {
        for text in FILES {
            let facts: Facts = toml::from_str(text).expect("a board's file");
            assert_eq!(facts.complaint(), None, "{}", facts.name);
            assert_eq!(Facts::named(&facts.name), Some(facts));
        }
        let names: std::collections::BTreeSet<String> = Facts::all().into_iter().map(|facts| facts.name).collect();
        assert_eq!(names.len(), FILES.len(), "every board has a name of its own");
        assert_eq!(Facts::named("toaster"), None);
    }

    #[test]
    fn facts_that_cannot_be_right_are_told() {
        let good = Facts::named("jetson-nano").expect("a board");
        let mut hot = good.clone();
        hot.thermal.rungs_milli_celsius[2] = hot.thermal.throttle_milli_celsius;
        assert!(hot.complaint().expect("wrong").starts_with("thermal"));
        let mut greedy = good.clone();
        greedy.memory.ceiling_bytes = greedy.memory.ram_bytes;
        assert!(greedy.complaint().expect("wrong").starts_with("memory"));
        assert!(Facts { name: "A board".into(), ..good }.complaint().is_some());
    }
}
