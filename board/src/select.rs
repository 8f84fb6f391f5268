//! Which board this is: by name, or by what the device tree says.

use crate::facts::{Facts, Tier};
use crate::generic_linux::GenericLinux;
use crate::hal::Board;
use crate::root::Root;
use crate::sim::{SimBoard, SimSettings};
use std::fmt;

/// The name that means: look.
pub const AUTO: &str = "auto";

/// The board that `auto` finds where it recognises none.
pub const FALLBACK: &str = "generic-linux";

/// The simulated board, which `auto` never finds.
pub const SIM: &str = "sim";

/// There is no board of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownBoard {
    /// The name.
    pub given: String,
}

impl fmt::Display for UnknownBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = Facts::all().into_iter().map(|facts| facts.name).collect();
        write!(f, "{:?} is no board: give {AUTO} or one of {}", self.given, names.join(", "))
    }
}

impl std::error::Error for UnknownBoard {}

/// The board called `name`, or the one that the tree below `root` is from. `sim` are the simulated board's settings.
///
/// # Errors
/// [`UnknownBoard`].
pub fn select(name: &str, root: Root, sim: &SimSettings) -> Result<Box<dyn Board>, UnknownBoard> {
    let found = if name == AUTO { recognise(&root) } else { name.to_owned() };
    let facts = Facts::named(&found).ok_or_else(|| UnknownBoard { given: name.to_owned() })?;
    Ok(match facts.tier {
        Tier::Simulated => Box::new(SimBoard::new(facts, sim.clone())),
        _ => Box::new(GenericLinux::new(facts, root)),
    })
}

/// Name of the board whose device tree lies below `root`.
fn recognise(root: &Root) -> String {
    let compatible = root.text("/proc/device-tree/compatible").unwrap_or_default();
    let model = root.text("/proc/device-tree/model").unwrap_or_default();
    // Entries are `vendor,board+module` or `vendor,module`, ended by zeros, the most exact one first.
    let entries: Vec<&str> = compatible.split('\0').collect();
    let all = Facts::all();
    let is_compatible = |facts: &&Facts| {
        facts.detect.compatible.iter().any(|known| {
            let module = known.strip_prefix("nvidia,").unwrap_or(known);
            entries.iter().any(|entry| entry == known || entry.split('+').skip(1).any(|part| part == module))
        })
    };
    let has_model = |facts: &&Facts| facts.detect.model.iter().any(|part| model.contains(part.as_str()));
    let found = all.iter().find(is_compatible).or_else(|| all.iter().find(has_model));
    found.map_or_else(|| FALLBACK.to_owned(), |facts| facts.name.clone())
}
