//! What only time and load show. These tests run one after the other, apart from the rest: seconds each among all tests,
//! minutes each by `cargo xtask endurance`, with the same checks.

mod events;
mod flood;
mod limits;
mod outage;
mod rotation;
mod slow;
