# Makes a user of Request Tracker with an authentication token and prints the token: user.pl NAME RIGHT...
# Rights are granted in the queue "General", AdminUsers and SuperUser everywhere. For the test of the Rust side, which names
# the database to write to by RT_SITE_CONFIG; it must not be pointed at a Request Tracker that people use.
use strict;
use warnings;
use lib '/usr/local/share/request-tracker5/lib', '/usr/share/request-tracker5/lib';
use RT -init;

my ($name, @rights) = @ARGV;
my $user = RT::User->new(RT->SystemUser);
my ($id, $why) = $user->Create(Name => $name, Privileged => 1);
die "$why\n" unless $id;

my $queue = RT::Queue->new(RT->SystemUser);
$queue->Load('General');
for my $right (@rights) {
    my $object = $right =~ /^(?:AdminUsers|SuperUser)$/ ? $RT::System : $queue;
    my ($granted, $refusal) = $user->PrincipalObj->GrantRight(Right => $right, Object => $object);
    die "$right: $refusal\n" unless $granted;
}

my ($made, $message, $token) = RT::AuthToken->new(RT->SystemUser)->Create(Owner => $id, Description => 'test');
die "$message\n" unless $made;
print "$token\n";
