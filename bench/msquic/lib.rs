//! Nothing: what is wanted is the library that the build of the crate msquic makes, and its header.
