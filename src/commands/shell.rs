//! Shell completions and the manual page, generated from the definition of the command line.

use std::io::{self, Write};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// Generates a completion script for a shell.
pub fn completions(mut program: Command, shell: Shell) -> Vec<u8> {
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, name, &mut script);
    script
}

/// Renders one manual page: the settings, then a section per command with its options.
///
/// # Errors
/// I/O errors, which do not occur when writing to memory.
pub fn man(program: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let whole = Man::new(program.clone().disable_help_subcommand(true));
    whole.render_title(&mut page)?;
    whole.render_name_section(&mut page)?;
    whole.render_synopsis_section(&mut page)?;
    whole.render_description_section(&mut page)?;
    whole.render_options_section(&mut page)?;
    let name = program.get_name().to_owned();
    for command in program.get_subcommands() {
        section(&mut page, &name, command)?;
    }
    // The help ends with a paragraph on secrets and one on exit codes.
    let end = program.get_after_help().map(ToString::to_string);
    let end = end.unwrap_or_default();
    let (secrets, exit) = end.rsplit_once("\n\n").unwrap_or(("", &end));
    for (title, text) in [("SECRETS", secrets), ("EXIT STATUS", exit)] {
        writeln!(page, ".SH \"{title}\"\n{text}")?;
    }
    Ok(page)
}

/// Renders the sections of a command and its subcommands. The command is detached from the program, so that the
/// global settings are not repeated.
fn section(page: &mut Vec<u8>, parent: &str, command: &Command) -> io::Result<()> {
    let name = format!("{parent} {}", command.get_name());
    let alone = command.clone().bin_name(&name).disable_help_flag(true);
    let alone = alone.disable_help_subcommand(true);
    let takes_options = alone.get_arguments().next().is_some();
    let command_page = Man::new(alone);
    let mut parts = Vec::new();
    command_page.render_synopsis_section(&mut parts)?;
    command_page.render_description_section(&mut parts)?;
    if takes_options {
        command_page.render_options_section(&mut parts)?;
    }
    writeln!(page, ".SH \"{}\"", name.to_uppercase())?;
    for line in parts.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_prefix(b".SH ") {
            Some(heading) => page.write_all(&[b".SS ", heading].concat())?,
            None => page.write_all(line)?,
        }
    }
    for below in command.get_subcommands() {
        section(page, &name, below)?;
    }
    Ok(())
}
