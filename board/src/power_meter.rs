//! The INA3221 power meter, as on Jetson boards: found by the rail's label.

use crate::facts::Facts;
use crate::hal::{MilliWatts, Power, SensorFault};
use crate::linux::read_value;
use crate::root::{Root, read_text};
use std::fs::File;
use std::path::Path;

/// The rail that feeds the whole board, opened once. Which number hwmon or iio gave to the chip, and the label to the channel, varies from
/// boot to boot: the label decides.
#[derive(Debug)]
pub struct PowerMeter {
    rail: Rail,
}

#[derive(Debug)]
enum Rail {
    /// hwmon (JetPack 5 and later): volts and amperes.
    MilliVoltsAndAmperes(File, File),
    /// iio (JetPack 4): watts.
    MilliWatts(File),
}

impl PowerMeter {
    /// Finds the rail.
    ///
    /// # Errors
    /// [`SensorFault::Absent`].
    pub fn open(root: &Root, facts: &Facts) -> Result<Self, SensorFault> {
        for label in &facts.power.input_rails {
            for driver in &facts.power.drivers {
                // Chips are called `bus-address`: 1-0040.
                for chip in root.folders(driver, "").iter().filter(|chip| is_chip(chip)) {
                    if let Some(rail) = rail_of(chip, label) {
                        return Ok(Self { rail });
                    }
                }
            }
        }
        Err(SensorFault::Absent)
    }
}

fn is_chip(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(|first: char| first.is_ascii_digit()))
}

/// Channels of an INA3221.
const CHANNELS: std::ops::RangeInclusive<u32> = 0..=3;

fn rail_of(chip: &Path, label: &str) -> Option<Rail> {
    let is = |path: &Path| read_text(path).as_deref() == Some(label);
    let folders = |folder: &Path, prefix: &str| Root::at(folder).folders("", prefix);
    for hwmon in folders(&chip.join("hwmon"), "hwmon") {
        for channel in CHANNELS {
            if is(&hwmon.join(format!("in{channel}_label"))) {
                let open = |name: &str| File::open(hwmon.join(format!("{name}{channel}_input"))).ok();
                return open("in").zip(open("curr")).map(|(volts, amperes)| Rail::MilliVoltsAndAmperes(volts, amperes));
            }
        }
    }
    for iio in folders(chip, "iio") {
        for channel in CHANNELS {
            if is(&iio.join(format!("rail_name_{channel}"))) {
                return File::open(iio.join(format!("in_power{channel}_input"))).ok().map(Rail::MilliWatts);
            }
        }
    }
    None
}

impl Power for PowerMeter {
    fn read(&mut self) -> Result<MilliWatts, SensorFault> {
        let milliwatts = match &self.rail {
            Rail::MilliWatts(power) => read_value(power)?,
            Rail::MilliVoltsAndAmperes(volts, amperes) => {
                let product = read_value(volts)?.checked_mul(read_value(amperes)?).ok_or(SensorFault::Implausible)?;
                product / 1000
            }
        };
        let power = u32::try_from(milliwatts).map(MilliWatts).map_err(|_| SensorFault::Implausible)?;
        if power > MilliWatts::MAX { Err(SensorFault::Implausible) } else { Ok(power) }
    }
}
