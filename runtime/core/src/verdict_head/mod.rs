//! The verdict head: what people's verdicts on one camera teach beyond the model, in a few numbers of fixed size.
//!
//! An optional stage between score and smoothing. Three opinions about a window are added up: the log-odds of a logistic regression on the
//! verdicts so far; the window's distance from the camera's normal windows, which needs no anomalous example; and the model's own score,
//! so that kinds of anomaly that nobody has judged yet stay visible. Without a head a pipeline computes what it computed before.

mod bytes;

mod features;

mod fault;

mod head;

mod headed_scorer;

mod quantised;

pub use bytes::HEAD_BYTES;
pub use fault::HeadFault;
pub use features::{FEATURE_KINDS, Features, HEAD_FEATURES, QUANTITIES, features};
pub use head::{HEAD_DIRECTIONS, HeadParts, Opinions, STANDARDISED_MAX, VerdictHead};
pub use headed_scorer::HeadedScorer;
