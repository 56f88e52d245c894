//! The promises that hold between any two steps.
