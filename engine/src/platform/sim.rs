//! The simulator: virtual time, and a disk that loses and tears what was not made durable.
