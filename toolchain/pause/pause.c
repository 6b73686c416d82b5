/* The program of a pod's sandbox. It keeps the pod's namespaces open, reaps orphaned processes, and ends on a signal. */
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
    /* Signals are blocked before sigwait, so that none is lost, even though this is the first process of its namespace. */
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
