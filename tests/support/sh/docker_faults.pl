# Stands between docker and netcord: listens on $ARGV[1] and starts netcord, $ARGV[0], for each call, whose
# name is a line of /run/docker-calls. /run/docker-faults/METHOD says what becomes of the next call of a
# method:
#   error   netcord does not get it, and the answer is an error
#   lost    netcord carries it out, and the connection breaks before the answer
use strict;
use warnings;
use IO::Socket::UNIX;
use Socket;

my ($netcord, $path) = @ARGV;
$SIG{CHLD} = $SIG{PIPE} = 'IGNORE';
my $listener = IO::Socket::UNIX->new(Local => $path, Listen => 100) or die $!;
while (my $docker = $listener->accept) {
    # Here: netcord is to see one caller.
    socketpair(my $mine, my $its, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die $!;
    if (!(fork // die $!)) {
        serve($docker, $mine, $its);
        exit;
    }
}

sub serve {
    my ($docker, $mine, $its) = @_;
    my $request = '';
    until ($request =~ /\r\n\r\n/) {
        sysread $docker, $request, 65536, length $request or return;
    }
    my ($length) = $request =~ /^Content-Length: (\d+)/mi;
    while (length($request) < index($request, "\r\n\r\n") + 4 + ($length // 0)) {
        sysread $docker, $request, 65536, length $request or return;
    }
    my ($method) = $request =~ m{^POST /\w+\.(\w+) };
    open my $log, '>>', '/run/docker-calls' or die $!;
    syswrite $log, $method . ($length ? '' : ' empty') . "\n";
    my $fault = fault_of($method);
    if ($fault eq 'error') {
        my $answer = '{"Err":"boom","Error":"boom"}';
        my $head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " . length $answer;
        syswrite $docker, "$head\r\n\r\n$answer";
        return;
    }
    $SIG{CHLD} = 'DEFAULT';
    if (!(fork // die $!)) {
        close $mine;
        open STDIN, '<&', $its or die $!;
        exec $netcord, 'docker-plugin' or die $!;
    }
    close $its;
    $request =~ s/\r\n/\r\nConnection: close\r\n/;
    syswrite $mine, $request;
    my $answer = do { local $/; <$mine> } // '';
    syswrite $docker, $answer if $fault ne 'lost';
    wait;
}

sub fault_of {
    my $file = "/run/docker-faults/$_[0]";
    open my $fault, '<', $file or return '';
    chomp(my $what = <$fault>);
    unlink $file;
    return $what;
}
