/* The program of a pod's sandbox: it holds the pod's namespaces, reaps processes that lost their parent, and ends when told. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    sigset_t awaited;
    int received;

    sigemptyset(&awaited);
    sigaddset(&awaited, SIGINT);
    sigaddset(&awaited, SIGTERM);
    sigaddset(&awaited, SIGCHLD);
    /* Blocked before they are awaited: none that arrives in between is lost, not even for the first process. */
    if (sigprocmask(SIG_BLOCK, &awaited, NULL) != 0)
        return 1;
    for (;;) {
        if (sigwait(&awaited, &received) != 0)
            return 1;
        if (received != SIGCHLD)
            return 0;
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
}
