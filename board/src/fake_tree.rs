//! A made-up tree of a board's system files, for tests: what the vendor's documents say is there, with values of the test's choice.

use crate::root::Root;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static TREES: AtomicU64 = AtomicU64::new(0);

/// A tree in a folder of its own, removed when it is dropped.
#[derive(Debug)]
pub struct FakeTree(PathBuf);

impl FakeTree {
    /// An empty tree.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Self> {
        let name = format!("alfred-tree-{}-{}", std::process::id(), TREES.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// The tree as a root.
    #[must_use]
    pub fn root(&self) -> Root {
        Root::at(&self.0)
    }

    /// The folder that stands for `/`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file; an open one keeps its identity, so that open readers see the new value, as in sysfs.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> io::Result<()> {
        let path = self.root().join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, content)
    }

    /// What the device tree says. `compatible` entries and texts end with zeros there.
    ///
    /// # Errors
    /// The system's.
    pub fn device_tree(&self, model: &str, compatible: &[&str]) -> io::Result<()> {
        self.write("/proc/device-tree/model", format!("{model}\0"))?;
        self.write("/proc/device-tree/serial-number", "1421223024567\0")?;
        self.write("/proc/device-tree/compatible", compatible.iter().map(|entry| format!("{entry}\0")).collect::<String>())
    }

    /// One thermal zone; an empty `temperature` is a zone that is switched off.
    ///
    /// # Errors
    /// The system's.
    pub fn zone(&self, number: u32, kind: &str, temperature: &str) -> io::Result<()> {
        self.write(&format!("/sys/class/thermal/thermal_zone{number}/type"), format!("{kind}\n"))?;
        self.write(&format!("/sys/class/thermal/thermal_zone{number}/temp"), temperature)
    }

    /// An INA3221 as hwmon shows it: (label, millivolts, milliamperes) of channels 1 and up.
    ///
    /// # Errors
    /// The system's.
    pub fn hwmon(&self, chip: &str, number: u32, rails: &[(&str, u32, u32)]) -> io::Result<()> {
        let folder = format!("/sys/bus/i2c/drivers/ina3221/{chip}/hwmon/hwmon{number}");
        for (channel, (label, volts, amperes)) in (1..).zip(rails) {
            self.write(&format!("{folder}/in{channel}_label"), format!("{label}\n"))?;
            self.write(&format!("{folder}/in{channel}_input"), format!("{volts}\n"))?;
            self.write(&format!("{folder}/curr{channel}_input"), format!("{amperes}\n"))?;
        }
        Ok(())
    }

    /// An INA3221 as the older iio driver shows it: (label, milliwatts) of channels 0 and up.
    ///
    /// # Errors
    /// The system's.
    pub fn iio(&self, chip: &str, number: u32, rails: &[(&str, u32)]) -> io::Result<()> {
        let folder = format!("/sys/bus/i2c/drivers/ina3221x/{chip}/iio:device{number}");
        for (channel, (label, watts)) in (0..).zip(rails) {
            self.write(&format!("{folder}/rail_name_{channel}"), format!("{label}\n"))?;
            self.write(&format!("{folder}/in_power{channel}_input"), format!("{watts}\n"))?;
        }
        Ok(())
    }

    /// A tree of the named board: Jetson boards as their documents have it, anything else a plain machine with one zone.
    ///
    /// # Errors
    /// The system's.
    pub fn of_board(name: &str) -> io::Result<Self> {
        let tree = Self::new()?;
        match name {
            "jetson-orin-nano" => {
                let compatible = ["nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"];
                tree.device_tree("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", &compatible)?;
                tree.orin_zones()?;
                tree.hwmon("1-0040", 1, &[("VDD_IN", 5000, 1240), ("VDD_CPU_GPU_CV", 5000, 200), ("VDD_SOC", 5000, 400)])?;
            }
            "jetson-orin-nx" => {
                let compatible = ["nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"];
                tree.device_tree("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", &compatible)?;
                tree.orin_zones()?;
                tree.hwmon("1-0040", 4, &[("VDD_SOC", 5000, 400), ("VDD_CPU_GPU_CV", 5000, 200), ("VDD_IN", 5000, 2000)])?;
            }
            "jetson-xavier-nx" => {
                tree.device_tree("NVIDIA Jetson Xavier NX Developer Kit", &["nvidia,p3509-0000+p3668-0000", "nvidia,tegra194"])?;
                tree.zone(0, "CPU-therm", "43000\n")?;
                tree.zone(1, "GPU-therm", "41500\n")?;
                tree.zone(2, "AUX-therm", "42000\n")?;
                tree.zone(5, "PMIC-Die", "100000\n")?;
                tree.hwmon("7-0040", 6, &[("VDD_IN", 5000, 800), ("VDD_CPU_GPU_CV", 5000, 100), ("VDD_SOC", 5000, 200)])?;
            }
            "jetson-nano" => {
                tree.device_tree("NVIDIA Jetson Nano Developer Kit", &["nvidia,p3450-0000", "nvidia,jetson-nano", "nvidia,tegra210"])?;
                tree.zone(0, "AO-therm", "44500\n")?;
                tree.zone(1, "CPU-therm", "36500\n")?;
                tree.zone(2, "GPU-therm", "34000\n")?;
                tree.zone(4, "PMIC-Die", "100000\n")?;
                tree.iio("6-0040", 0, &[("POM_5V_IN", 2310), ("POM_5V_GPU", 0), ("POM_5V_CPU", 430)])?;
            }
            _ => {
                tree.write("/sys/class/dmi/id/product_name", "A machine\n")?;
                tree.zone(0, "x86_pkg_temp", "51000\n")?;
            }
        }
        Ok(tree)
    }

    /// Zones of the Orin boards; some are off while their part of the chip is.
    fn orin_zones(&self) -> io::Result<()> {
        self.zone(0, "cpu-thermal", "47500\n")?;
        self.zone(1, "gpu-thermal", "")?;
        self.zone(2, "cv0-thermal", "")?;
        self.zone(8, "tj-thermal", "49031\n")
    }
}

impl Drop for FakeTree {
    fn drop(&mut self) {
        // Best effort: it lies in the system's folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
