//! The engine as its callers meet it, over stores that a test holds still, breaks or trims.

mod bells;
mod check;
mod handover;
mod kit;
mod log_end;
mod organizations;
mod replay;
mod resume;
mod simulation;
mod waiting;
mod writing;
