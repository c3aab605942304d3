# Calls netcord as dockerd does where systemd starts a process for each connection: $ARGV[0] names the
# methods, the bodies are in /run/calls, and the rest is the program. Only the last call runs under it.
# A method with `!` has no body.
use strict;
use warnings;
use Socket;

my ($methods, $netcord, @under) = @ARGV;
my @methods = split /,/, $methods;
while (my $method = shift @methods) {
    my @program = (@methods ? () : @under, $netcord, 'docker-plugin');
    socketpair(my $docker, my $plugin, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die $!;
    my $pid = fork // die $!;
    if (!$pid) {
        close $docker;
        open STDIN, '<&', $plugin or die $!;
        close $plugin;
        exec @program or die $!;
    }
    close $plugin;
    $SIG{PIPE} = 'IGNORE';
    my $body = $method =~ s/!$// ? '' : do { local (@ARGV, $/) = ("/run/calls/$method"); <> };
    my $name = $method =~ /Pool|Address/ ? "IpamDriver.$method" : "NetworkDriver.$method";
    my $length = length $body;
    syswrite $docker, "POST /$name HTTP/1.1\r\nHost: d\r\nContent-Length: $length\r\nConnection: close\r\n\r\n$body";
    my $answer = do { local $/; <$docker> } // '';
    waitpid $pid, 0;
    if (my $signal = $? & 127) { exit 128 + $signal; }
    exit $? >> 8 if $?;
    $answer =~ s/.*\r\n\r\n//s;
    if ($answer =~ /^\{"Err/) { print STDERR "error: $answer\n"; exit 1; }
    if ($answer eq '') { print STDERR "error: no answer\n"; exit 1; }
    print $answer if !@methods;
}
