#![no_main]
farebox_fuzz::door_target!();
