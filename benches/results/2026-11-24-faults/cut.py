"""Cuts an ext4 off under four threads that write and fdatasync, and looks for what was acknowledged: as root, cc -O2 -pthread cut.c -o cut && python3 cut.py ROUNDS"""
import subprocess,random,os,struct,sys
d=os.path.dirname(os.path.abspath(__file__)); img=d+"/i"; m=d+"/m"; os.makedirs(m,exist_ok=True)
lost=0;after=0;N=int(sys.argv[1])
for r in range(N):
    subprocess.run(["truncate","-s","0",img]);subprocess.run(["truncate","-s","256M",img]);subprocess.run(["mkfs.ext4","-q","-F",img],check=True)
    subprocess.run(["mount","-o","loop",img,m],check=True)
    out=subprocess.run([d+"/cut",m,str(random.randint(20000,150000))],capture_output=True,text=True,check=True).stdout
    subprocess.run(["umount",m],check=True); subprocess.run(["mount","-o","loop",img,m],check=True)
    for line in out.splitlines():
        k,n,at,st,ce=line.split(); n=int(n)
        if not n: continue
        try: b=open(f"{m}/f{k}","rb").read()
        except OSError: b=b""
        bad=[i for i in range(1,n+1) if b[4096*i:4096*i+8]!=struct.pack("<q",i)]
        if bad: lost+=1; after+=float(at)>0; print("round",r,"file",k,"acked",n,"lost",bad[:3],"len",len(b)//4096,"acked at ms after cut began",at,"sync began",st,"ioctl ended",ce,flush=True)
    subprocess.run(["umount",m],check=True)
print("rounds",N,"lost",lost,"acked after the cut",after)
