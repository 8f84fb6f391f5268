//! Why something is refused, as numbers that never change: each code has a name and a mend, and new ones only get new numbers.
//!
//! Link: 1 to 99. Bundles: 100 to 199. Slots: 200 to 299. Messages carry the number ([`CodeNumber`]), so that a code which is newer than
//! the reader stays readable as a number.

use core::fmt;
use postcard::experimental::max_size::MaxSize;
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($number:literal $name:ident $mend:literal,)+) => {
        /// A known reason of a refusal; see the table in this file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum ErrorCode {
            $(#[doc = $mend] $name = $number,)+
        }

        impl ErrorCode {
            /// All codes, in the order of their numbers.
            pub const ALL: [Self; [$($number),+].len()] = [$(Self::$name),+];

            /// Its name in logs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// What is wrong, and what to do about it.
            #[must_use]
            pub const fn mend(self) -> &'static str {
                match self { $(Self::$name => $mend,)+ }
            }
        }
    };
}

codes! {
    1 LinkVersion "The other end speaks another version of the link: update the older one.",
    2 LinkMalformed "A message cannot be read: both ends must be builds of this project, and nothing may rewrite the stream.",
    3 LinkTooLarge "A message is larger than its direction allows: split it.",
    4 LinkUnexpected "A message came at the wrong moment: begin with Hello and Welcome.",
    5 LinkUnknownDevice "The host does not know this device: enrol it on the host.",
    6 LinkWrongCamera "The host knows this device with another camera: mend the camera's name in the device's configuration, or enrol anew.",
    7 LinkBusy "The host cannot take more now: try again later.",
    8 HostStorage "The host cannot store what came: free space on its disk; the device keeps its records.",
    9 LinkRecord "A record's content cannot be read: it is kept aside on the host and not asked for again.",
    10 LinkWrongDevice "The device calls itself otherwise than its certificate: give it the name that it was enrolled with.",
    100 BundleTruncated "The bundle has fewer bytes than it says: send it again.",
    101 BundleTooLarge "The bundle has more bytes than a device takes: choose a shorter window or a smaller head.",
    102 BundleNotABundle "The bytes are no bundle, or more bytes follow it: send the file that `alfred-host bundle build` wrote.",
    103 BundleSignature "The signature is not from a key that this device trusts: sign with the host's key, or put its public key on the device.",
    104 BundleVersion "The bundle's format is unknown to this device: update the device, or build with its version.",
    105 BundleMalformed "A signed bundle holds a field outside its range: build it again with a current host.",
    106 BundleWrongCamera "The bundle is for another camera: send it to the device of that camera.",
    107 BundleDowngrade "The bundle's revision is not above the device's: build it with a higher one.",
    108 BundleFingerprint "The bundle was made for other windows, preprocessing or smoothing than the device runs: build it with the device's configuration.",
    109 BundleArchitecture "The device cannot run this architecture: use one that it names.",
    110 BundleNotFinite "A weight, threshold or figure is not finite: use the weights from before it became so.",
    111 BundleSelfTest "The weights do not give the expected scores on this device: build the bundle again, and check both builds with self-test.",
    112 BundleMemory "The model does not fit into the device's memory: raise its ceiling, or send a smaller model.",
    113 BundleParent "The bundle continues another revision than the one that runs: build it on the running one.",
    114 BundleChunk "A part of a bundle came out of order or beyond what was offered: begin the transfer again.",
    115 BundleNoKey "The device trusts no key at all: put the host's public key into its configuration.",
    116 BundleHash "The bundle's bytes are not the ones that were offered: begin the transfer again.",
    200 SlotBusy "Another bundle is being tried: wait for its report.",
    201 SlotStorage "The device cannot write its slots: check its storage.",
    202 ShadowDisagreement "In shadow the new weights decided otherwise than the live ones too often: look at both before trying again.",
    203 ShadowFlagRate "In shadow the new weights flagged too many windows: compute the threshold again.",
    204 ShadowFaults "In shadow the new weights failed to score windows: check the model.",
    205 TrialFlagRate "On trial the new weights flagged too many windows: the old ones run again; compute the threshold again.",
    206 TrialFaults "On trial the new weights failed to score windows: the old ones run again; check the model.",
    207 TrialCrashLoop "The device started too often during the trial: the old weights run again; find out why it restarts.",
    208 Withdrawn "The host withdrew the bundle before it was confirmed: nothing needs mending.",
    209 SlotDamaged "A slot's bytes are not what was written: the other slot runs; check the device's storage.",
}

impl ErrorCode {
    /// Its number, the same for ever.
    #[must_use]
    pub const fn number(self) -> CodeNumber {
        CodeNumber(self as u16)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.name(), *self as u16, self.mend())
    }
}

impl core::error::Error for ErrorCode {}

/// A code as messages carry it: it may be newer than this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, MaxSize)]
pub struct CodeNumber(pub u16);

impl CodeNumber {
    /// The code, if this build knows it.
    #[must_use]
    pub fn known(self) -> Option<ErrorCode> {
        ErrorCode::ALL.into_iter().find(|code| code.number() == self)
    }
}

impl fmt::Display for CodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(code) => code.fmt(f),
            None => write!(f, "code {}: unknown to this build, a newer one names it", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::string::{String, ToString};

    /// Every code that was ever given out. Lines are only added.
    const GIVEN_OUT: &str = "1 LinkVersion, 2 LinkMalformed, 3 LinkTooLarge, 4 LinkUnexpected, 5 LinkUnknownDevice, 6 LinkWrongCamera, \
        7 LinkBusy, 8 HostStorage, 9 LinkRecord, 10 LinkWrongDevice, 100 BundleTruncated, 101 BundleTooLarge, 102 BundleNotABundle, 103 BundleSignature, \
        104 BundleVersion, 105 BundleMalformed, 106 BundleWrongCamera, 107 BundleDowngrade, 108 BundleFingerprint, \
        109 BundleArchitecture, 110 BundleNotFinite, 111 BundleSelfTest, 112 BundleMemory, 113 BundleParent, 114 BundleChunk, \
        115 BundleNoKey, 116 BundleHash, 200 SlotBusy, 201 SlotStorage, 202 ShadowDisagreement, 203 ShadowFlagRate, 204 ShadowFaults, \
        205 TrialFlagRate, 206 TrialFaults, 207 TrialCrashLoop, 208 Withdrawn, 209 SlotDamaged, ";

    #[test]
    fn codes_keep_their_numbers_for_ever() {
        let now: String = ErrorCode::ALL.iter().map(|code| std::format!("{} {}, ", code.number().0, code.name())).collect();
        assert_eq!(now, GIVEN_OUT, "codes are only appended: an old device must understand a new host");
        assert!(ErrorCode::ALL.windows(2).all(|pair| pair[0].number().0 < pair[1].number().0));
    }

    #[test]
    fn every_code_says_what_to_do_and_unknown_ones_are_readable() {
        for code in ErrorCode::ALL {
            assert_eq!(code.number().known(), Some(code));
            assert!(code.mend().contains(": ") && code.mend().ends_with('.'), "{code}");
        }
        assert_eq!(CodeNumber(9999).known(), None);
        assert!(CodeNumber(9999).to_string().contains("9999"));
    }
}
