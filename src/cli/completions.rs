//! `farebox completions` and `farebox man`: made from the same description of the command line that reads it.

use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, End, end_with};

/// Prints what a shell needs to complete our commands.
pub fn completions(shell: Shell) -> End {
    clap_complete::generate(shell, &mut Cli::command(), "farebox", &mut io::stdout());
    End::Done
}

/// Prints the manual page, or writes one for each command into a folder.
pub fn man(folder: Option<&Path>) -> End {
    let written = match folder {
        Some(folder) => clap_mangen::generate_to(Cli::command(), folder),
        None => clap_mangen::Man::new(Cli::command()).render(&mut io::stdout()),
    };
    match written {
        Ok(()) => End::Done,
        Err(error) => end_with(End::CannotStart, &error),
    }
}
