//! `shim/include/sys/eventfd.h` is usable from C and C++, and has glibc's values.
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

/// Compiles the program with `compiler` and `arguments` and returns what it prints.
fn printed(name: &str, compiler: &str, arguments: &[&str]) -> String {
    let directory = repository().join("target/header");
    fs::create_dir_all(&directory).unwrap();
    let program = directory.join(name);
    let source = directory.join(format!("{name}.source"));
    fs::write(&source, PROGRAM).unwrap();
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

#[test]
fn c_and_cpp_see_what_glibc_declares() {
    let include = format!("-I{}", repository().join("shim/include").display());
    let glibc = printed("glibc", "cc", &["-std=c99", "-x", "c"]);
    assert_eq!(glibc, "1 524288 2048 8 1\n");
    for standard in ["c99", "c11", "gnu17"] {
        assert_eq!(printed(standard, "cc", &["-x", "c", &format!("-std={standard}"), &include]), glibc);
    }
    for standard in ["c++11", "c++20"] {
        assert_eq!(printed(standard, "c++", &["-x", "c++", &format!("-std={standard}"), &include]), glibc);
    }
}
