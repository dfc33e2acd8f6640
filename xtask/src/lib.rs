//! The developer's loop.
