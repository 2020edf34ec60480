# frozen_string_literal: true

# What both Vagrantfiles are made of: machines on a network of their own, and provisioning by the scripts of provision/.
require "fileutils"
require "securerandom"

module Machines
  CHECKOUT = File.expand_path("..", __dir__)
  THERE = "/opt/sluiceway" # on the machines, the part of the checkout that the scripts need
  SHIPPED = ["vagrant/provision", "deploy/manifests"].freeze
  CONTROL_PLANE = "n1"

  # A machine, and its address in the network that the nodes have in common.
  Machine = Struct.new(:name, :address)

  # Machines n1, n2 and so on. The control plane is the last to come up: it then sees the others join.
  def self.named(count, network)
    all = (1..count).map { |number| Machine.new("n#{number}", "#{network}.#{10 + number}") }
    all.drop(1) + all.take(1)
  end

  # kubeadm's bootstrap token, made once for a folder's machines, and kept beside Vagrant's own state.
  def self.token(folder)
    file = File.join(folder, ".vagrant", "token")
    unless File.exist?(file)
      FileUtils.mkdir_p(File.dirname(file))
      File.write(file, "#{SecureRandom.hex(3)}.#{SecureRandom.hex(8)}\n", perm: 0o600)
    end
    File.read(file).strip
  end

  # What is the same for every machine and provider.
  def self.common(config)
    config.vm.box = ENV.fetch("SLUICEWAY_BOX", "debian/bookworm64")
    config.vm.boot_timeout = 600 # software emulation takes its time
    config.vm.synced_folder ".", "/vagrant", disabled: true
  end

  # KVM, or QEMU's software emulation where LIBVIRT_DRIVER is qemu.
  def self.libvirt(config, cpus:, memory:)
    config.vm.provider :libvirt do |libvirt|
      libvirt.driver = ENV.fetch("LIBVIRT_DRIVER", "kvm")
      libvirt.cpu_mode = libvirt.driver == "kvm" ? "host-passthrough" : "maximum"
      libvirt.machine_type = "q35"
      libvirt.cpus = cpus
      libvirt.memory = memory
      libvirt.graphics_type = "none"
      libvirt.video_type = "none"
      yield libvirt if block_given?
    end
  end

  # The parts of the checkout that the scripts need, where they expect them.
  def self.ship(node)
    folders = SHIPPED.map { |path| File.dirname("#{THERE}/#{path}") } + ["#{THERE}/dist"]
    node.vm.provision "room", type: "shell",
                              inline: "rm -rf #{THERE} && install -d -o vagrant #{THERE} #{folders.join(" ")}"
    SHIPPED.each do |path|
      node.vm.provision path, type: "file", source: File.join(CHECKOUT, path), destination: "#{THERE}/#{path}"
    end
    return if ENV["SLUICEWAY_IMAGE"] == "box" # the box has it

    Dir[File.join(CHECKOUT, "dist", "sluiceway-*.oci.tar")].each do |archive|
      node.vm.provision "archive", type: "file", source: archive, destination: "#{THERE}/dist/#{File.basename(archive)}"
    end
  end

  # One of the scripts, as a provisioner of its name.
  def self.script(node, name, *arguments, run: "once")
    command = ["#{THERE}/vagrant/provision/#{name}.sh", *arguments].join(" ")
    node.vm.provision name, type: "shell", run: run, inline: command
  end

  # All that makes the machine a node of the cluster, from what was shipped.
  def self.provision(node, machine, all, token)
    control_plane = all.find { |each| each.name == CONTROL_PLANE }
    script(node, "packages")
    script(node, "node", machine.address)
    script(node, "image")
    if machine == control_plane
      script(node, "control-plane", machine.address, token)
      script(node, "agent", machine.address)
    else
      join_later(node, control_plane, token)
    end
    script(node, "reset", run: "never")
  end

  # The control plane comes up after the others: these join on their own, when it is there.
  def self.join_later(node, control_plane, token)
    join = "#{THERE}/vagrant/provision/join.sh #{control_plane.address} #{token}"
    node.vm.provision "join", type: "shell", inline: <<~SHELL
      systemctl is-active --quiet kubeadm-join || systemd-run --collect --unit=kubeadm-join #{join}
    SHELL
  end
end
