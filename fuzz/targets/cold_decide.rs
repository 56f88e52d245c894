#![no_main]
farebox_fuzz::target!();
