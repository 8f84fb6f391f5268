//! Where burn computes: on the CPU, or, in a build with the feature `gpu`, on a graphics processor through wgpu (Vulkan, Metal, DirectX 12).
//!
//! The models are plain tensor operations, so they are the same on both. A GPU adds in another order than a CPU does: results repeat on one
//! adapter with one driver, and are not the CPU's bits.

use crate::error::HostError;
use crate::train::architecture::Backend;
use burn::tensor::Device;

/// The CPU, whatever else this build knows.
#[must_use]
pub fn cpu() -> Device {
    Device::flex()
}

/// The device of a backend: the GPU where it is asked for, else the CPU.
///
/// # Errors
/// [`HostError`] when a GPU is asked for and this build or this machine has none.
pub fn of(backend: Backend) -> Result<Device, HostError> {
    match backend {
        Backend::Hand | Backend::Burn => Ok(cpu()),
        Backend::Gpu => gpu(),
    }
}

#[cfg(not(feature = "gpu"))]
fn gpu() -> Result<Device, HostError> {
    let mend =
        "this build has no GPU support: build it with `cargo build --release -p alfred-trainer-host --features gpu`, or use hand or burn";
    Err(HostError::argument("--backend gpu", mend))
}

/// The adapter that wgpu prefers, started once per process; `CUBECL_WGPU_DEFAULT_DEVICE` names another.
#[cfg(feature = "gpu")]
fn gpu() -> Result<Device, HostError> {
    use std::sync::OnceLock;
    static STARTED: OnceLock<Result<Device, String>> = OnceLock::new();
    let started = STARTED.get_or_init(|| Device::wgpu_options().init().map_err(|fault| fault.to_string()));
    let fault = |fault: &String| {
        HostError::argument("--backend gpu", format!("no GPU can be used ({fault}): install its driver, or use hand or burn"))
    };
    started.clone().map_err(|text| fault(&text))
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::train::architecture::Backend;

    #[test]
    fn a_gpu_that_is_not_there_is_an_error_with_a_way_out() {
        assert!(of(Backend::Burn).is_ok());
        let answer = of(Backend::Gpu);
        // Only a build with the feature, on a machine with an adapter, has a device.
        assert!(answer.is_err() || cfg!(feature = "gpu"));
        if let Err(error) = answer {
            let text = error.to_string();
            assert!(text.contains("--backend gpu") && text.contains("use hand or burn"), "{text}");
        }
    }
}
