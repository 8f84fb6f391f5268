//! alfred-bundle
