//! The headers in `shim/include` are usable from C and C++, and have glibc's values.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::process::Command;
use std::time::Duration;

use eventd_suite::{repository, run};

const PROGRAM: &str = "
#include <sys/eventfd.h>
#include <stdio.h>
int main(void)
{
    int (*create)(unsigned int, int) = eventfd;
    int (*read_counter)(int, eventfd_t *) = eventfd_read;
    int (*write_counter)(int, eventfd_t) = eventfd_write;
    eventfd_t value = 0;
    int fd = create(3, EFD_SEMAPHORE);
    if (write_counter(fd, 4) != 0 || read_counter(fd, &value) != 0)
        return 1;
    printf(\"%d %d %d %zu %d\\n\", EFD_SEMAPHORE, EFD_CLOEXEC, EFD_NONBLOCK, sizeof value, (int)value);
    return 0;
}
";

const SIGNALS: &str = "
#include <signal.h>
#include <sys/signalfd.h>
#include <stddef.h>
#include <stdio.h>
#define AT(field) printf(\"%zu \", offsetof(struct signalfd_siginfo, ssi_##field))
int main(void)
{
    int (*create)(int, const sigset_t *, int) = signalfd;
    sigset_t none;
    sigemptyset(&none);
    AT(signo); AT(errno); AT(code); AT(pid); AT(uid); AT(fd); AT(tid); AT(band); AT(overrun); AT(trapno); AT(status);
    AT(int); AT(ptr); AT(utime); AT(stime); AT(addr); AT(addr_lsb);
    printf(\"%zu %d %d %d\\n\", sizeof(struct signalfd_siginfo), SFD_CLOEXEC, SFD_NONBLOCK, create(-2, &none, 0));
    return 0;
}
";

/// Compiles the program with `compiler` and `arguments` and returns what it prints.
fn printed(source_text: &str, name: &str, compiler: &str, arguments: &[&str]) -> String {
    let directory = repository().join("target/header");
    fs::create_dir_all(&directory).unwrap();
    let program = directory.join(name);
    let source = directory.join(format!("{name}.source"));
    fs::write(&source, source_text).unwrap();
    let compiled = run(
        Command::new(compiler)
            .args(arguments)
            .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o"])
            .arg(&program)
            .arg(&source),
        Duration::from_secs(60),
    );
    assert!(compiled.success(), "{compiler}: {}", compiled.stderr);
    run(&mut Command::new(program), Duration::from_secs(10)).stdout
}

fn same_everywhere(source: &str, what: &str) -> String {
    let include = format!("-I{}", repository().join("shim/include").display());
    let glibc = printed(source, &format!("{what}-glibc"), "cc", &["-std=gnu99", "-x", "c"]);
    for standard in ["gnu99", "gnu11", "gnu17"] {
        let arguments = ["-x", "c", &format!("-std={standard}"), &include];
        assert_eq!(printed(source, &format!("{what}-{standard}"), "cc", &arguments), glibc);
    }
    for standard in ["gnu++11", "gnu++20"] {
        let arguments = ["-x", "c++", &format!("-std={standard}"), &include];
        assert_eq!(printed(source, &format!("{what}-{standard}"), "c++", &arguments), glibc);
    }
    glibc
}

#[test]
fn c_and_cpp_see_what_glibc_declares() {
    assert_eq!(same_everywhere(PROGRAM, "eventfd"), "1 524288 2048 8 1\n");
    assert_eq!(
        same_everywhere(SIGNALS, "signalfd"),
        "0 4 8 12 16 20 24 28 32 36 40 44 48 56 64 72 80 128 524288 2048 -1\n"
    );
}
