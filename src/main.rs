//! wayside, the program: parses arguments, runs, maps an error to its exit code.
//! Must never hold anything else. The exit codes are house rule 6's, and nowhere else.

use std::process::ExitCode;

use wayside::base::error::Kind;

fn main() -> ExitCode {
    match wayside::daemon::entry::run(std::env::args_os()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            wayside::cli::print_error(&error, &mut std::io::stderr());
            ExitCode::from(match error.kind {
                Kind::Invalid | Kind::Conflict => 65,
                Kind::NotFound => 66,
                Kind::Upstream => 69,
                Kind::Storage => 74,
                Kind::Busy => 75,
                Kind::Denied => 77,
                Kind::Config => 78,
            })
        }
    }
}
