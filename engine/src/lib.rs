//! Verifies vouchers in batches, keeps the books, and answers only what is on disk.
