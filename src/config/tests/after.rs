//! `after`.
