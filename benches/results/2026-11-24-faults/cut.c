// Four threads append 4 KiB and fdatasync; after so many microseconds the file system is cut off. Prints what each had acknowledged, and when.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <sys/ioctl.h>
#define T 4
static char *m; static volatile long acked[T]; static double at[T], started[T];
static double now(){struct timespec t;clock_gettime(CLOCK_MONOTONIC,&t);return t.tv_sec+t.tv_nsec/1e9;}
static void*w(void*p){long k=(long)p;char n[256];sprintf(n,"%s/f%ld",m,k);int f=open(n,O_RDWR|O_CREAT|O_TRUNC,0644);long b[512];
 for(long i=1;i<15000;i++){for(int j=0;j<512;j++)b[j]=i; if(pwrite(f,b,4096,4096*i)!=4096)break; double s=now(); if(fdatasync(f))break; acked[k]=i;at[k]=now();started[k]=s;}
 close(f);return 0;}
int main(int c,char**v){m=v[1];int us=atoi(v[2]);pthread_t t[T];for(long k=0;k<T;k++)pthread_create(&t[k],0,w,(void*)k);
 usleep(us);int r=open(m,O_RDONLY);unsigned flag=2;double cut=now();if(ioctl(r,0x8004587d,&flag)){perror("ioctl");return 2;}double cutend=now();close(r);
 for(int k=0;k<T;k++)pthread_join(t[k],0);
 for(int k=0;k<T;k++)printf("%d %ld %.6f %.6f %.6f\n",k,acked[k],(at[k]-cut)*1e3,(started[k]-cut)*1e3,(cutend-cut)*1e3);}
