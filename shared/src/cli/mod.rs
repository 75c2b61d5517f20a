//! Manners of all four tools: arguments, stdin, stdout, progress, exit codes.
