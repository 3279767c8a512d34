//! Glommio: io_uring and direct I/O, one executor per core.
