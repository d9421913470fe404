//! The words of welcome: what runs, where, and the next three things to try, each as it can be typed.
//! Must never print what does not work.

use std::io::Write;
use std::net::SocketAddr;

use crate::config::Config;

/// Says what runs and what to try.
pub fn say(out: &mut dyn Write, config: &Config, address: SocketAddr) -> std::io::Result<()> {
    let program = std::env::current_exe().map_or_else(|_| "wayside".to_owned(), |path| path.display().to_string());
    let directory = config.data_dir.display();
    let site = config.sites.first().map_or("default", |site| site.id.as_str());
    let query = if config.sites.len() > 1 { format!("?site={site}") } else { String::new() };
    let scheme = if config.door.tls_cert_file.is_some() { "https" } else { "http" };
    writeln!(out, "wayside {} listens on {scheme}://{address}, data in {directory}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "It records visits and events into {directory}/wayside.db once a visitor has consented, counts the")?;
    writeln!(out, "others without naming them, and leaves sealed batches in {directory}/outbox.\n")?;
    writeln!(out, "Try, in another terminal:")?;
    writeln!(out, "1. give a consent")?;
    writeln!(
        out,
        "   curl -s '{scheme}://{address}/v1/consent{query}' -d '{{\"visitor\":\"demo\",\"decisionId\":\"demo-1\",\"action\":\"give\",\"purposes\":[\"measure\"]}}'"
    )?;
    writeln!(out, "2. send an event")?;
    writeln!(
        out,
        "   curl -s '{scheme}://{address}/v1/events{query}' -d '{{\"visitor\":\"demo\",\"name\":\"page_viewed\",\"url\":\"https://shop.example/\",\"title\":\"Home\"}}'"
    )?;
    writeln!(out, "3. see the stored row")?;
    writeln!(out, "   {program} --data-dir {directory} events list --limit 1\n")?;
    writeln!(out, "Ctrl-C stops it.")?;
    out.flush()
}
